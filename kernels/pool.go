package kernels

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Task is a piece of work cut into parts that run in any order and on any worker. Parts must write to disjoint memory, so
// that results do not depend on how many workers there are.
type Task interface {
	// Part does part number part; worker is in [0, Threads) and names the scratch memory that this call may use.
	Part(part, worker int)
}

// Pool is a persistent set of workers. Run does not allocate. One Run is under way at a time; a second caller waits.
//
// An encoder runs thousands of short tasks one after the other, and waking a goroutine that sleeps takes as long as a small
// one. So workers that have nothing to do look for the next task for a short while before they sleep.
//
// Each worker begins with a range of parts of its own, the same in each Run, so that what it wrote or read before may still
// be in its cache; who is done with them takes what others have left.
type Pool struct {
	threads int
	mu      sync.Mutex
	task    Task
	ranges  []partRange  // of each worker
	pending atomic.Int64 // helpers that have not finished the task
	workers []poolWorker
	done    chan struct{}
	waiting atomic.Bool         // Run sleeps until it hears from done
	fault   atomic.Pointer[any] // the first memory fault of a task's parts
}

// partRange is the parts that a worker begins with.
type partRange struct {
	next atomic.Int64
	end  int64
	_    [48]byte
}

// poolWorker is what the pool and one of its helpers share.
type poolWorker struct {
	order  atomic.Uint32 // idle, working or asleep
	wake   chan struct{}
	closed atomic.Bool
	_      [64]byte
}

const (
	orderNone   = iota // looking for work
	orderWork          // has a task
	orderAsleep        // must be woken
)

// lookFor is how long a worker, or Run, waits awake. It gives way to other goroutines meanwhile.
const lookFor = 50 * time.Microsecond

// NewPool starts a pool of that many threads, the caller of Run being one of them; 0 means one for each processor.
func NewPool(threads int) *Pool {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{threads: threads, workers: make([]poolWorker, threads-1), ranges: make([]partRange, threads), done: make(chan struct{}, 1)}
	for i := range p.workers {
		w := &p.workers[i]
		w.wake = make(chan struct{}, 1)
		go p.help(w, i+1)
	}
	return p
}

// Threads returns the number of workers.
func (p *Pool) Threads() int { return p.threads }

// Run does all parts of a task and returns when they are done. Where a part reads memory that the system cannot give (a
// mapped file that was cut short), the fault panics here, whichever worker met it: see [runtime/debug.SetPanicOnFault].
func (p *Pool) Run(parts int, t Task) {
	if parts <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.task = t
	helpers := p.workers[:min(p.threads, parts)-1]
	active := len(helpers) + 1
	for i := range p.ranges {
		r := &p.ranges[i]
		r.next.Store(int64(parts * min(i, active) / active))
		r.end = int64(parts * min(i+1, active) / active)
	}
	p.pending.Store(int64(len(helpers)))
	for i := range helpers {
		if w := &helpers[i]; w.order.Swap(orderWork) == orderAsleep {
			w.wake <- struct{}{}
		}
	}
	p.work(0)
	if len(helpers) > 0 && !await(func() bool { return p.pending.Load() == 0 }) {
		p.waiting.Store(true)
		// The last helper may have finished before it could see that; then it is this side that takes the flag back.
		if p.pending.Load() != 0 || !p.waiting.CompareAndSwap(true, false) {
			<-p.done
		}
	}
	p.task = nil
	if f := p.fault.Swap(nil); f != nil {
		panic(*f)
	}
}

// await looks at a condition for a while, and returns whether it came true.
func await(condition func() bool) bool {
	for i := 0; i < 2000; i++ {
		if condition() {
			return true
		}
	}
	for start := time.Now(); time.Since(start) < lookFor; {
		for i := 0; i < 100; i++ {
			if condition() {
				return true
			}
		}
		runtime.Gosched()
	}
	return false
}

// help does parts of task after task.
func (p *Pool) help(w *poolWorker, number int) {
	debug.SetPanicOnFault(true)
	for {
		if !await(func() bool { return w.order.Load() == orderWork }) && w.order.CompareAndSwap(orderNone, orderAsleep) {
			<-w.wake
		}
		if w.closed.Load() {
			return
		}
		w.order.Store(orderNone)
		p.work(number)
		if p.pending.Add(-1) == 0 && p.waiting.CompareAndSwap(true, false) {
			p.done <- struct{}{}
		}
	}
}

func (p *Pool) work(worker int) {
	defer p.catch()
	for i := range p.ranges {
		r := &p.ranges[(worker+i)%len(p.ranges)]
		for part := r.next.Add(1) - 1; part < r.end; part = r.next.Add(1) - 1 {
			p.task.Part(int(part), worker)
		}
	}
}

// catch keeps a memory fault for Run. Other panics go on where they are.
func (p *Pool) catch() {
	switch f := recover().(type) {
	case nil:
	case interface{ Addr() uintptr }:
		kept := any(f)
		p.fault.CompareAndSwap(nil, &kept)
	default:
		panic(f)
	}
}

// Close ends the workers. The pool must not be used afterwards.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.workers {
		w := &p.workers[i]
		w.closed.Store(true)
		if w.order.Swap(orderWork) == orderAsleep {
			w.wake <- struct{}{}
		}
	}
}
