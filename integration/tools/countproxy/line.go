package main

import (
	"sync"
	"time"
)

// line is the shaped connection: one token bucket for all clients, and a delay before each answer.
type line struct {
	mu    sync.Mutex
	rate  float64 // bytes per second; 0: as fast as it goes
	delay time.Duration
	free  time.Time // when the line has sent everything accepted so far
}

func (l *line) set(megabits, milliseconds float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate, l.delay = megabits*1e6/8, time.Duration(milliseconds*float64(time.Millisecond))
	l.free = time.Time{}
}

// answer waits for the added round trip.
func (l *line) answer() {
	l.mu.Lock()
	delay := l.delay
	l.mu.Unlock()
	time.Sleep(delay)
}

// piece says how many bytes to send at once: small when the line is shaped, so that it stays smooth.
func (l *line) piece() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate == 0 {
		return 1 << 20
	}
	return 16 << 10
}

// sent takes bytes from the bucket and waits until they would have crossed.
func (l *line) sent(bytes int64) {
	l.mu.Lock()
	if l.rate == 0 {
		l.mu.Unlock()
		return
	}
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(bytes) / l.rate * float64(time.Second)))
	wait := l.free.Sub(now)
	l.mu.Unlock()
	time.Sleep(wait)
}
