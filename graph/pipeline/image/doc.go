// Package imageproc turns pictures into what vision encoders take, bit for bit as the original preprocessors do: decoding
// as Pillow's Image.open and convert("RGB") do it, resizing with Pillow's 8-bit fixed-point arithmetic, cropping, padding
// and tiling by the rules of transformers, torchvision, timm and the original projects, and normalisation in their order of
// operations.
//
// [Decode] reads PNG, JPEG, WebP, TIFF, BMP and GIF files of any origin: sizes are checked before pixels are allocated, and
// nothing in a file makes it panic. [Process] carries out a [pipeline.Image]. Its [Batch] keeps the 8-bit tiles, from which
// [Batch.PixelValues] makes the normalised tensor and [Batch.Pixels] the plain one, for graphs that normalise themselves.
package imageproc
