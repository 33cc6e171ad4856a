// tcpline relays TCP connections over a line that is as long and as thin as asked for, whatever they carry.
//
//	tcpline -upstream 127.0.0.1:443 -rtt 30 -rate 200
//
// The first line on standard output is the address for clients. -rtt is in milliseconds, half of it each way; -rate
// in Mbit/s to the clients, shared by all connections. Each connection grows as TCP does without loss: ten segments
// in the first round trip, twice as many in each further one, up to -window KiB. With -loss, that part of the segments
// (in per cent) is lost: whatever comes behind on that connection waits a round trip for it to be sent again, the window
// is halved, and grows by one segment in a round trip from then on (RFC 5681).
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const segment = 1460

// line is what all connections share.
type line struct {
	mu     sync.Mutex
	rate   float64 // bytes per second; 0: as fast as it goes
	free   time.Time
	oneWay time.Duration
	window int
	loss   float64 // part of the segments
}

// loses says whether any segment of so many bytes is lost.
func (l *line) loses(bytes int) bool {
	return l.loss > 0 && rand.Float64() < 1-math.Pow(1-l.loss, math.Ceil(float64(bytes)/segment))
}

// cross says when bytes that are sent now will have left the thin end.
func (l *line) cross(bytes int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.rate == 0 {
		return now
	}
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(bytes) / l.rate * float64(time.Second)))
	return l.free
}

type packet struct {
	data []byte
	at   time.Time
}

// window is how much of one connection is on its way, and how much may be.
type window struct {
	mu     sync.Mutex
	change *sync.Cond
	used   int
	size   int
	limit  int
	slow   bool // slow start, until something is lost
}

func newWindow(limit int) *window {
	w := &window{size: 10 * segment, limit: limit, slow: true}
	w.change = sync.NewCond(&w.mu)
	return w
}

func (w *window) take(bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.used > 0 && w.used+bytes > w.size {
		w.change.Wait()
	}
	w.used += bytes
}

// lost halves the window.
func (w *window) lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.size, w.slow = max(w.size/2, 2*segment), false
}

// acknowledged lets as much be sent again, and in slow start that much more.
func (w *window) acknowledged(bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used -= bytes
	more := bytes
	if !w.slow {
		more = segment * bytes / w.size
	}
	w.size = min(w.size+more, w.limit)
	w.change.Signal()
}

// carry moves bytes from one end to the other. thin: they cross the shared rate and the connection's window.
func carry(from, to net.Conn, l *line, thin bool) {
	packets := make(chan packet, 1<<14)
	own := newWindow(l.window << 10)
	go func() {
		defer close(packets)
		for {
			buffer := make([]byte, 16<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				left := time.Now()
				if thin {
					own.take(n)
					left = l.cross(n)
				}
				at := left.Add(l.oneWay)
				if thin && l.loses(n) {
					own.lost()
					at = at.Add(2 * l.oneWay)
				}
				packets <- packet{buffer[:n], at}
			}
			if err != nil {
				return
			}
		}
	}()
	broken := false
	for p := range packets {
		time.Sleep(time.Until(p.at))
		if _, err := to.Write(p.data); err != nil {
			broken = true
			from.Close()
		}
		if thin {
			// The acknowledgement takes the other half of the round trip.
			n := len(p.data)
			time.AfterFunc(l.oneWay, func() { own.acknowledged(n) })
		}
		if broken {
			continue // the reader must not block
		}
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address for clients")
	upstream := flag.String("upstream", "", "address of the server (required)")
	rtt := flag.Float64("rtt", 0, "round trip in milliseconds")
	rate := flag.Float64("rate", 0, "Mbit/s to the clients; 0: no limit")
	loss := flag.Float64("loss", 0, "segments to the clients that are lost, in per cent")
	size := flag.Int("window", 3072, "most KiB of one connection on their way")
	flag.Parse()
	if *upstream == "" {
		log.Fatal("tcpline: -upstream HOST:PORT is required")
	}
	clients, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatalf("tcpline: %v", err)
	}
	fmt.Println(clients.Addr())
	l := &line{rate: *rate * 1e6 / 8, oneWay: time.Duration(*rtt / 2 * float64(time.Millisecond)), window: *size, loss: *loss / 100}
	for {
		client, err := clients.Accept()
		if err != nil {
			log.Fatalf("tcpline: %v", err)
		}
		go func() {
			defer client.Close()
			// The handshake of the real connection.
			time.Sleep(2 * l.oneWay)
			server, err := net.Dial("tcp", *upstream)
			if err != nil {
				log.Printf("tcpline: %v", err)
				return
			}
			defer server.Close()
			done := make(chan struct{})
			go func() { carry(client, server, l, false); close(done) }()
			carry(server, client, l, true)
			_, _ = io.Copy(io.Discard, client)
			<-done
		}()
	}
}
