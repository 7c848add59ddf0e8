package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mmconv/mmconv/formats"
	"github.com/mmconv/mmconv/graph"
	"github.com/mmconv/mmconv/graph/run"
	"github.com/mmconv/mmconv/verify/report"
)

var _ = register(newRun)

func newRun(a *app) *cobra.Command {
	var images, audio, texts, tensors, fetch []string
	var out, system, encoder, resampling string
	var size [2]int
	var maxPixels int
	var force, transcribe, timestamps bool
	c := &cobra.Command{
		Use:   "run MODEL",
		Short: "Run a model's pipeline on images, audio, texts or tensors",
		Long: `run carries a model's inputs through preprocessing and graph and writes the outputs, or the values named by --value (any name
that 'mmconv inspect --graph' lists). MODEL is a source or a converted folder. Without -o the outputs are printed as JSON.`,
		Example: `  mmconv run clip-int8 --image photo.jpg --text "a photo of a cat" --text "a photo of a dog"
  mmconv run clip-int8 --image a.png --image b.png --value image_embeds -o embeds.npy
  mmconv run whisper-int8 --audio speech.flac --transcribe
  mmconv run projector-int8 --tensors features.safetensors -o tokens.safetensors`,
		Args: exactly(1, "a model"),
		RunE: func(c *cobra.Command, args []string) error {
			if _, ok := writers[filepath.Ext(out)]; out != "" && !ok {
				return fmt.Errorf("-o %s: unknown kind of file; known are %s", out, strings.Join(slices.Sorted(maps.Keys(writers)), ", "))
			}
			o := a.session()
			o.Models.System, o.Models.Encoder, o.Models.ImageSize, o.MaxPixels, o.Resampling = system, encoder, size, maxPixels, resampling
			s, err := run.Open(args[0], o)
			if err != nil {
				return err
			}
			defer s.Close()
			if timestamps {
				if err := s.WriteTimestamps(); err != nil {
					return err
				}
			}
			in := map[string]run.Input{}
			for name, files := range map[string][]string{"images": images, "audio": audio} {
				for _, f := range files {
					x := in[name]
					x.Samples = append(x.Samples, []string{f})
					in[name] = x
				}
			}
			if texts != nil {
				in["text"] = run.Input{Texts: texts}
			}
			for _, f := range tensors {
				if err := run.ReadTensors(f, in); err != nil {
					return err
				}
			}
			if len(in) == 0 {
				return fmt.Errorf("nothing to run on: give --image, --audio, --text or --tensors")
			}
			r, err := s.NewPass(c.Context(), in)
			if err != nil {
				return err
			}
			for _, n := range r.Notes {
				a.note("%s", n)
			}
			if transcribe || timestamps {
				lines, err := r.Transcribe(c.Context())
				if err != nil {
					return err
				}
				return a.print(lines, func() error {
					for _, line := range lines {
						if _, err := fmt.Fprintln(a.out, strings.TrimSpace(line)); err != nil {
							return err
						}
					}
					return nil
				})
			}
			names := fetch
			if names == nil {
				if names, err = r.Outputs(); err != nil {
					return err
				}
			}
			values, err := r.Fetch(c.Context(), names...)
			if err != nil {
				return err
			}
			if out == "" {
				return writers[".json"](a.out, names, values)
			}
			f, err := formats.NewAtomicFile(c.Context(), out, force)
			if err != nil {
				return err
			}
			defer f.Abort()
			if err := writers[filepath.Ext(out)](f, names, values); err != nil {
				return err
			}
			return f.Commit()
		},
	}
	f := c.Flags()
	f.StringArrayVar(&images, "image", nil, "image file (may be repeated: a batch)")
	f.StringArrayVar(&audio, "audio", nil, "audio file (may be repeated)")
	f.StringArrayVar(&texts, "text", nil, "text (may be repeated)")
	f.StringArrayVar(&tensors, "tensors", nil, ".safetensors file whose tensors are fed by their names (may be repeated)")
	f.StringArrayVar(&fetch, "value", nil, "value to write instead of the outputs (may be repeated)")
	f.BoolVar(&transcribe, "transcribe", false, "print what the model writes for each clip, a line each")
	f.BoolVar(&timestamps, "timestamps", false, "transcribe with the times of segments, where the model was trained to write them")
	f.StringVarP(&out, "output", "o", "", "file to write: .json, .npy or .safetensors")
	f.BoolVar(&force, "force", false, "replace the file if it exists")
	f.StringVar(&system, "system", "", "read a source as this system instead of recognising it")
	f.StringVar(&encoder, "encoder", "", "folder of the encoder before a source that is a projector alone")
	f.StringVar(&resampling, "resampling", "hann", "kernel that brings clips to the model's rate: hann, as torchaudio, or kaiser, sharper")
	f.IntVar(&maxPixels, "max-pixels", 0, "largest picture that is decoded, in pixels (default 178956970)")
	imageSize(f, &size)
	return c
}

// writers write named tensors, by file extension.
var writers = map[string]func(w io.Writer, names []string, values map[string]*graph.Tensor) error{
	".json":        writeValuesJSON,
	".npy":         writeNPY,
	".safetensors": writeValuesSafetensors,
}

func writeValuesJSON(w io.Writer, names []string, values map[string]*graph.Tensor) error {
	type value struct {
		Name  string      `json:"name"`
		Shape graph.Shape `json:"shape"`
		Data  []float32   `json:"data"`
	}
	var list []value
	for _, n := range names {
		for i, v := range values[n].Data {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return fmt.Errorf("value %q: element %d is %v, which JSON cannot hold: write .npy or .safetensors", n, i, v)
			}
		}
		list = append(list, value{n, values[n].Shape, values[n].Data})
	}
	return report.WriteJSON(w, list)
}

// writeNPY writes one array in NumPy's format, version 1.0 (numpy.lib.format).
func writeNPY(w io.Writer, names []string, values map[string]*graph.Tensor) error {
	if len(names) != 1 {
		return fmt.Errorf("a .npy file holds one array, and there are %d outputs: choose one with --value %s, or write .safetensors", len(names), names[0])
	}
	t := values[names[0]]
	shape := strings.Trim(strings.ReplaceAll(t.Shape.String(), ",", ", "), "[]")
	if len(t.Shape) == 1 {
		shape += ","
	}
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape)
	header += strings.Repeat(" ", 63-(10+len(header))%64) + "\n"
	if _, err := fmt.Fprintf(w, "\x93NUMPY\x01\x00%c%c%s", byte(len(header)), byte(len(header)>>8), header); err != nil {
		return err
	}
	return binary.Write(w, binary.LittleEndian, t.Data)
}

func writeValuesSafetensors(w io.Writer, names []string, values map[string]*graph.Tensor) error {
	var entries []formats.Entry
	for _, n := range slices.Compact(slices.Sorted(slices.Values(names))) {
		t := values[n]
		entries = append(entries, formats.Entry{Name: n, DType: formats.F32, Shape: t.Shape, Write: func(w io.Writer) error {
			return binary.Write(w, binary.LittleEndian, t.Data)
		}})
	}
	return formats.WriteSafetensors(w, nil, entries)
}
