package main

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"
)

// watchMemory samples the resident memory that is not backed by files until the returned function is called, which gives the
// peak in MB.
func watchMemory() (stop func() float64) {
	done, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := anonymous()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, anonymous())
			case <-done:
				peak <- max(most, anonymous())
				return
			}
		}
	}()
	return func() float64 {
		close(done)
		return float64(<-peak) / 1e6
	}
}

// anonymous returns RssAnon of this process in bytes (proc_pid_status(5)).
func anonymous() int64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb * 1024
		}
	}
	return 0
}
