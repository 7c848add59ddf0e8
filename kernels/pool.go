package kernels

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Task is a piece of work cut into parts that run in any order and on any worker. Parts must write to disjoint memory, so
// that results do not depend on how many workers there are.
type Task interface {
	// Part does part number part; worker is in [0, Threads) and names the scratch memory that this call may use.
	Part(part, worker int)
}

// Pool is a persistent set of workers. Run does not allocate. One Run is under way at a time; a second caller waits.
type Pool struct {
	threads int
	mu      sync.Mutex
	task    Task
	parts   int64
	next    atomic.Int64
	pending atomic.Int64
	start   []chan struct{}
	done    chan struct{}
}

// NewPool starts a pool of that many threads, the caller of Run being one of them; 0 means one for each processor.
func NewPool(threads int) *Pool {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{threads: threads, done: make(chan struct{}, 1)}
	for w := 1; w < threads; w++ {
		c := make(chan struct{}, 1)
		p.start = append(p.start, c)
		go func() {
			for range c {
				p.work(w)
				if p.pending.Add(-1) == 0 {
					p.done <- struct{}{}
				}
			}
		}()
	}
	return p
}

// Threads returns the number of workers.
func (p *Pool) Threads() int { return p.threads }

// Run does all parts of a task and returns when they are done.
func (p *Pool) Run(parts int, t Task) {
	if parts <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.task, p.parts = t, int64(parts)
	p.next.Store(0)
	helpers := min(p.threads, parts) - 1
	p.pending.Store(int64(helpers))
	for _, c := range p.start[:helpers] {
		c <- struct{}{}
	}
	p.work(0)
	if helpers > 0 {
		<-p.done
	}
	p.task = nil
}

func (p *Pool) work(worker int) {
	for {
		part := p.next.Add(1) - 1
		if part >= p.parts {
			return
		}
		p.task.Part(int(part), worker)
	}
}

// Close ends the workers. The pool must not be used afterwards.
func (p *Pool) Close() {
	for _, c := range p.start {
		close(c)
	}
}
