package pipeline

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// TestAudioDefaults holds what the classes of transformers fill in for keys that are absent.
func TestAudioDefaults(t *testing.T) {
	clap := func(truncate AudioTruncate, scale MelScale, norm bool) *Audio {
		return &Audio{SampleRate: 48000, Input: "input_features", Samples: 480000, Pad: PadRepeatPad, Truncate: truncate,
			OneLonger: truncate == TruncateFusion,
			Mel:       &Mel{FFT: 1024, Hop: 480, Bins: 64, MaxHz: 14000, Scale: scale, AreaNorm: norm, Log: MelDB, Floor: 1e-10}}
	}
	large := WhisperAudio(128)
	large.Samples, large.Mask, large.PadLeft = 3*16000, true, true
	for _, c := range []struct {
		config, class string
		want          *Audio
	}{
		{`{}`, "WhisperFeatureExtractor", WhisperAudio(80)},
		{`{"feature_extractor_type":"WhisperFeatureExtractor","feature_size":128,"chunk_length":3,"n_samples":9,"nb_max_frames":7,"mel_filters":[[1]],"padding_side":"left","return_attention_mask":true,"padding_value":0.0,"dither":0.0}`, "", large},
		{`{"processor_class":"WhisperProcessor","feature_extractor":{"feature_extractor_type":"WhisperFeatureExtractor"}}`, "", WhisperAudio(80)},
		{`{}`, "ClapFeatureExtractor", clap(TruncateFusion, MelHTK, false)},
		{`{"truncation":"rand_trunc","top_db":null,"padding_side":null,"sampling_rate":null}`, "CLAPFeatureExtractor", clap(TruncateCrop, MelSlaney, true)},
		{`{}`, "Wav2Vec2FeatureExtractor", &Audio{SampleRate: 16000, Input: "input_values", Normalize: true, Epsilon: 1e-7}},
		{`{"do_normalize":false,"padding_value":1,"return_attention_mask":true}`, "Wav2Vec2FeatureExtractor", &Audio{SampleRate: 16000, Input: "input_values", PadValue: 1, Mask: true}},
	} {
		got, err := ParseAudioExtractor([]byte(c.config), c.class)
		if err != nil {
			t.Errorf("%s: %v", c.config, err)
			continue
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%+v %+v, expected\n%+v %+v", c.config, *got, got.Mel, *c.want, c.want.Mel)
		}
	}
}

// TestAudioJSON holds that every pipeline comes back whole from a converted folder.
func TestAudioJSON(t *testing.T) {
	fused, err := ParseAudioExtractor([]byte(`{"padding":"repeat"}`), "ClapFeatureExtractor")
	if err != nil {
		t.Fatal(err)
	}
	laion := LAIONCLAPConfig{SampleRate: 48000, ClipSamples: 480000, WindowSize: 1024, HopSize: 480, MelBins: 64, MinHz: 50, MaxHz: 14000}
	for _, a := range []*Audio{WhisperAudio(80), WhisperAudio(128), fused, LAIONCLAPAudio(laion, false), LAIONCLAPAudio(laion, true),
		MicrosoftCLAPAudio(44100, 7), TorchaudioAudio(16000, true), FairseqAudio(16000, false)} {
		if err := a.Check(); err != nil {
			t.Error(err)
		}
		raw, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back Audio
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(&back, a) {
			t.Errorf("%s became %+v", raw, back)
		}
	}
}

// TestAudioRefuses holds the error lines for configurations that cannot be carried out.
func TestAudioRefuses(t *testing.T) {
	for config, want := range map[string]string{
		`[]`: "expected an object, found a list",
		`{`:  "ends before its JSON does",
		`{}`: "feature_extractor_type is missing",
		`{"feature_extractor_type":"NopeFeatureExtractor"}`:                                    `"NopeFeatureExtractor": expected one of`,
		`{"feature_extractor_type":"WhisperFeatureExtractor","hop_length":0}`:                  "hop length 0",
		`{"feature_extractor_type":"WhisperFeatureExtractor","sampling_rate":0}`:               "chunk_length 30 at 0 Hz",
		`{"feature_extractor_type":"WhisperFeatureExtractor","chunk_length":1e300}`:            "chunk_length 1e+300",
		`{"feature_extractor_type":"WhisperFeatureExtractor","feature_size":-1}`:               "-1 mel bins",
		`{"feature_extractor_type":"WhisperFeatureExtractor","n_fft":1000000}`:                 "FFT length 1000000",
		`{"feature_extractor_type":"WhisperFeatureExtractor","n_fft":"x"}`:                     "n_fft",
		`{"feature_extractor_type":"WhisperFeatureExtractor","dither":0.1}`:                    "dither 0.1",
		`{"feature_extractor_type":"WhisperFeatureExtractor","padding_side":"top"}`:            `padding_side "top"`,
		`{"feature_extractor_type":"ClapFeatureExtractor","truncation":"none"}`:                `truncation "none"`,
		`{"feature_extractor_type":"ClapFeatureExtractor","padding":"mirror"}`:                 `padding "mirror"`,
		`{"feature_extractor_type":"ClapFeatureExtractor","frequency_min":14000}`:              "mel range 14000 to 14000 Hz",
		`{"feature_extractor_type":"ClapFeatureExtractor","max_length_s":0.0001}`:              "max_length_s 0.0001",
		`{"feature_extractor_type":"ClapFeatureExtractor","max_length_s":0.01}`:                "too short for frames of 1024",
		`{"feature_extractor_type":"ClapFeatureExtractor","sampling_rate":99000000}`:           "99000000",
		`{"feature_extractor_type":"Wav2Vec2FeatureExtractor","feature_size":80}`:              "feature_size 80",
		`{"feature_extractor_type":"Wav2Vec2FeatureExtractor","sampling_rate":-8000}`:          "sampling rate -8000 Hz",
		`{"feature_extractor":{"feature_extractor_type":"WhisperFeatureExtractor","n_fft":0}}`: "FFT length 0",
	} {
		_, err := ParseAudioExtractor([]byte(config), "")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, expected %q", config, err, want)
		}
	}
}

// FuzzAudioExtractor holds that a configuration is refused or can be carried out.
func FuzzAudioExtractor(f *testing.F) {
	f.Add([]byte(`{"feature_extractor_type":"WhisperFeatureExtractor","feature_size":128}`), "")
	f.Add([]byte(`{"truncation":"fusion","padding":"repeatpad","max_length_s":10}`), "ClapFeatureExtractor")
	f.Add([]byte(`{"feature_extractor":{"do_normalize":false}}`), "Wav2Vec2FeatureExtractor")
	f.Fuzz(func(t *testing.T, raw []byte, class string) {
		a, err := ParseAudioExtractor(raw, class)
		if err != nil {
			return
		}
		if err := a.Check(); err != nil {
			t.Error(err)
		}
		if _, err := json.Marshal(a); err != nil {
			t.Error(err)
		}
	})
}
