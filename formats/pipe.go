package formats

import (
	"io"
	"sync"
)

// pipe collects small writes into large ones and does these in a goroutine of its own, in order.
type pipe struct {
	free, full chan []byte
	buf        []byte
	done       chan struct{}

	mu  sync.Mutex
	err error // of the writer underneath
}

const (
	pipeBuffer  = 1 << 20
	pipeBuffers = 4
)

func newPipe(w io.Writer) *pipe {
	p := &pipe{free: make(chan []byte, pipeBuffers), full: make(chan []byte, pipeBuffers), done: make(chan struct{})}
	for range pipeBuffers {
		p.free <- nil // allocated when it is needed
	}
	go func() {
		defer close(p.done)
		for b := range p.full {
			if p.fault() == nil {
				if _, err := w.Write(b); err != nil {
					p.mu.Lock()
					p.err = err
					p.mu.Unlock()
				}
			}
			p.free <- b[:0]
		}
	}()
	return p
}

func (p *pipe) fault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *pipe) Write(data []byte) (int, error) {
	if err := p.fault(); err != nil {
		return 0, err
	}
	for rest := data; len(rest) > 0; {
		if p.buf == nil {
			if p.buf = <-p.free; p.buf == nil {
				p.buf = make([]byte, 0, pipeBuffer)
			}
		}
		n := min(len(rest), cap(p.buf)-len(p.buf))
		p.buf = append(p.buf, rest[:n]...)
		rest = rest[n:]
		if len(p.buf) == cap(p.buf) {
			p.full <- p.buf
			p.buf = nil
		}
	}
	return len(data), nil
}

// close writes what is left, waits for the end and gives the first error of the writer underneath.
func (p *pipe) close() error {
	if len(p.buf) > 0 {
		p.full <- p.buf
	}
	p.buf = nil
	close(p.full)
	<-p.done
	return p.err
}
