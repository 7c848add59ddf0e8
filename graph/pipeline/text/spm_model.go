package text

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// spmModel is what a SentencePiece model file holds for encoding and decoding (google/sentencepiece,
// src/sentencepiece_model.proto). The file is a protocol buffer, of which few fields are needed.
type spmModel struct {
	pieces []spmPiece

	modelType    int // spmUnigram, spmBPE, …
	suffixSpace  bool
	byteFallback bool
	unkSurface   string

	charsmap    []byte
	dummyPrefix bool
	removeExtra bool
	escape      bool
}

type spmPiece struct {
	text  string
	score float32
	kind  int
}

// The numbers of the file format.
const (
	spmUnigram = 1
	spmBPE     = 2

	spmNormal      = 1
	spmUnknown     = 2
	spmControl     = 3
	spmUserDefined = 4
	spmUnused      = 5
	spmByte        = 6
)

// maxPieces bounds the pieces of a model.
const maxPieces = 1 << 22

var errProto = errors.New("not a SentencePiece model: a broken protocol buffer")

// readSPM reads a model file.
func readSPM(raw []byte) (*spmModel, error) {
	m := &spmModel{modelType: spmUnigram, unkSurface: " \u2047 ", dummyPrefix: true, removeExtra: true, escape: true}
	err := protoFields(raw, func(field int, v protoValue) error {
		switch {
		case field == 1 && v.bytes != nil:
			if len(m.pieces) == maxPieces {
				return fmt.Errorf("more than %d pieces", maxPieces)
			}
			p, err := readSPMPiece(v.bytes)
			if err != nil {
				return fmt.Errorf("piece %d: %w", len(m.pieces), err)
			}
			m.pieces = append(m.pieces, p)
		case field == 2 && v.bytes != nil:
			return protoFields(v.bytes, m.trainer)
		case field == 3 && v.bytes != nil:
			return protoFields(v.bytes, m.normalizer)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(m.pieces) == 0 {
		return nil, errors.New("not a SentencePiece model: it has no pieces")
	}
	return m, nil
}

func readSPMPiece(raw []byte) (p spmPiece, err error) {
	p.kind = spmNormal
	err = protoFields(raw, func(field int, v protoValue) error {
		switch field {
		case 1:
			p.text = string(v.bytes)
		case 2:
			p.score = math.Float32frombits(uint32(v.number))
		case 3:
			p.kind = int(v.number)
		}
		return nil
	})
	switch {
	case err != nil:
	case p.text == "" || !utf8.ValidString(p.text):
		err = fmt.Errorf("text %q: expected UTF-8, not empty", p.text)
	case math.IsNaN(float64(p.score)) || math.IsInf(float64(p.score), 0):
		err = fmt.Errorf("score %g of %q: expected a finite number", p.score, p.text)
	case p.kind < spmNormal || p.kind > spmByte:
		err = fmt.Errorf("type %d of %q: expected 1 to 6", p.kind, p.text)
	}
	return p, err
}

func (m *spmModel) trainer(field int, v protoValue) error {
	switch field {
	case 3:
		m.modelType = int(v.number)
	case 24:
		m.suffixSpace = v.number != 0
	case 35:
		m.byteFallback = v.number != 0
	case 44:
		m.unkSurface = string(v.bytes)
	}
	return nil
}

func (m *spmModel) normalizer(field int, v protoValue) error {
	switch field {
	case 2:
		m.charsmap = v.bytes
	case 3:
		m.dummyPrefix = v.number != 0
	case 4:
		m.removeExtra = v.number != 0
	case 5:
		m.escape = v.number != 0
	}
	return nil
}

// protoValue is a field's value: bytes for strings and messages, else the number or the bits of a float.
type protoValue struct {
	number uint64
	bytes  []byte
}

// protoFields calls visit for every field of a message, in order (protobuf.dev, Encoding).
func protoFields(raw []byte, visit func(field int, v protoValue) error) error {
	for len(raw) > 0 {
		key, n := binary.Uvarint(raw)
		if n <= 0 || key>>3 == 0 || key>>3 > 1<<29 {
			return errProto
		}
		raw = raw[n:]
		var v protoValue
		switch key & 7 {
		case 0:
			v.number, n = binary.Uvarint(raw)
			if n <= 0 {
				return errProto
			}
		case 1:
			if n = 8; len(raw) < n {
				return errProto
			}
			v.number = binary.LittleEndian.Uint64(raw)
		case 2:
			size, k := binary.Uvarint(raw)
			if k <= 0 || size > uint64(len(raw)-k) {
				return errProto
			}
			n = k + int(size)
			v.bytes = raw[k:n:n]
		case 5:
			if n = 4; len(raw) < n {
				return errProto
			}
			v.number = uint64(binary.LittleEndian.Uint32(raw))
		default:
			return errProto
		}
		raw = raw[n:]
		if err := visit(int(key>>3), v); err != nil {
			return err
		}
	}
	return nil
}
