package main

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far a long step is: a bar on a terminal, else a plain line now and then.
type progress struct {
	a     *app
	title string
	total int64
	bar   *progressbar.ProgressBar
	last  time.Time
	shown int64
}

// plainEvery is the least time between two plain lines.
const plainEvery = 5 * time.Second

// begin starts to show a step of a size; bytes says that the size is one of bytes.
func (a *app) begin(title string, total int64, bytes bool) {
	a.endProgress()
	if a.quiet {
		return
	}
	p := &progress{a: a, title: title, total: total, last: time.Now()}
	if a.terminal() {
		options := []progressbar.Option{
			progressbar.OptionSetWriter(a.err),
			progressbar.OptionSetDescription(title),
			progressbar.OptionThrottle(60 * time.Millisecond),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetWidth(30),
			progressbar.OptionEnableColorCodes(a.colored()),
		}
		if bytes {
			options = append(options, progressbar.OptionShowBytes(true))
		} else {
			options = append(options, progressbar.OptionShowCount())
		}
		p.bar = progressbar.NewOptions64(total, options...)
	}
	a.progress = p
}

// step says how much is done.
func (a *app) step(done, total int64) {
	p := a.progress
	if p == nil {
		return
	}
	if p.bar != nil {
		if total != p.total {
			p.total = total
			p.bar.ChangeMax64(total)
		}
		_ = p.bar.Set64(done)
		return
	}
	if time.Since(p.last) >= plainEvery && done > p.shown && total > 0 {
		p.last, p.shown = time.Now(), done
		fmt.Fprintf(a.err, "%s: %d %%\n", p.title, 100*done/total)
	}
}

// endProgress takes the bar away.
func (a *app) endProgress() {
	if a.progress != nil && a.progress.bar != nil {
		_ = a.progress.bar.Clear()
	}
	a.progress = nil
}
