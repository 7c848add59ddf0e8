package quant

import "runtime/debug"

// toolVersion names this program.
func toolVersion() string {
	version := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == "github.com/mmconv/mmconv" && m.Version != "" {
				version = m.Version
			}
		}
	}
	return "mmconv " + version
}
