package formats

import (
	"fmt"
	"io"
	"os"
)

// ReadBounded reads a file that must not be longer than limit bytes.
func ReadBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s: longer than the %d MiB that such a file may have", path, limit>>20)
	}
	return raw, err
}
