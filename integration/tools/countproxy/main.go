// countproxy stands between a client and a plain-HTTP registry on loopback and counts what crosses.
// It can also be slow on purpose, so that a pull can be killed in the middle or measured on a thin line.
//
//	countproxy -listen 127.0.0.1:0 -upstream 127.0.0.1:5000 -control 127.0.0.1:0
//
// The first line on standard output is "LISTEN CONTROL": the two addresses in use. Control answers
//
//	GET /stats             counters as JSON
//	GET /log               the requests since the last reset, as a JSON list
//	GET /reset             zero all counters
//	GET /set?rate=M&rtt=T  at most M Mbit/s to the client (0: no limit), T ms added to each request
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address for clients")
	control := flag.String("control", "127.0.0.1:0", "address for /stats, /log, /reset, /set")
	upstream := flag.String("upstream", "", "address of the registry (required)")
	flag.Parse()
	if *upstream == "" {
		log.Fatal("countproxy: -upstream HOST:PORT is required")
	}
	clients, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatalf("countproxy: %v", err)
	}
	controls, err := net.Listen("tcp", *control)
	if err != nil {
		log.Fatalf("countproxy: %v", err)
	}
	fmt.Printf("%s %s\n", clients.Addr(), controls.Addr())

	counters := &counters{}
	line := &line{}
	go func() { log.Fatalf("countproxy: %v", http.Serve(controls, controller(counters, line))) }()
	for {
		conn, err := clients.Accept()
		if err != nil {
			log.Fatalf("countproxy: %v", err)
		}
		counters.connection()
		go relay(conn, *upstream, counters, line)
	}
}

func controller(counters *counters, line *line) http.Handler {
	answer := func(w http.ResponseWriter, value any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/stats", func(w http.ResponseWriter, _ *http.Request) { answer(w, counters.snapshot()) })
	mux.HandleFunc("/log", func(w http.ResponseWriter, _ *http.Request) { answer(w, counters.requests()) })
	mux.HandleFunc("/reset", func(w http.ResponseWriter, _ *http.Request) { counters.reset(); answer(w, "reset") })
	mux.HandleFunc("/set", func(w http.ResponseWriter, r *http.Request) {
		rate, _ := strconv.ParseFloat(r.FormValue("rate"), 64)
		rtt, _ := strconv.ParseFloat(r.FormValue("rtt"), 64)
		line.set(rate, rtt)
		answer(w, map[string]float64{"rate": rate, "rtt": rtt})
	})
	return mux
}
