package imageproc

import (
	"bytes"
	"encoding/binary"
)

const tagOrientation = 0x0112

// orientationOf finds the EXIF orientation in a PNG (chunk eXIf) or, where the file itself is a TIFF, in its first
// directory. 0 means none.
func orientationOf(data []byte, isTIFF bool) int {
	if isTIFF {
		return exifOrientation(data)
	}
	if !bytes.HasPrefix(data, []byte("\x89PNG")) {
		return 0
	}
	for rest := data[8:]; len(rest) >= 12; {
		n := int(binary.BigEndian.Uint32(rest))
		if n < 0 || n > len(rest)-12 {
			return 0
		}
		if string(rest[4:8]) == "eXIf" {
			return exifOrientation(rest[8 : 8+n])
		}
		rest = rest[12+n:]
	}
	return 0
}

// exifOrientation reads the orientation from the first directory of a TIFF structure, 0 where there is none.
func exifOrientation(tiff []byte) int {
	if len(tiff) < 8 {
		return 0
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch string(tiff[:4]) {
	case "II*\x00":
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 0
	}
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return 0
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(entries) < 12 {
			return 0
		}
		if order.Uint16(entries) == tagOrientation && order.Uint16(entries[2:]) == 3 {
			if v := int(order.Uint16(entries[8:])); v >= 1 && v <= 8 {
				return v
			}
			return 0
		}
		entries = entries[12:]
	}
	return 0
}
