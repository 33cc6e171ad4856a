package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
)

// relay serves one client connection: request by request, over one connection of its own to the registry.
func relay(client net.Conn, upstream string, counters *counters, line *line) {
	defer client.Close()
	server, err := net.Dial("tcp", upstream)
	if err != nil {
		log.Printf("countproxy: %v", err)
		return
	}
	defer server.Close()
	requests, answers := bufio.NewReader(client), bufio.NewReader(server)
	for {
		more, err := exchange(client, server, requests, answers, counters, line)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			return // the other end went away; both connections close
		}
		if err != nil || !more {
			return
		}
	}
}

// exchange passes on one request and its answer. It says whether the connection may carry another one.
func exchange(client, server net.Conn, requests, answers *bufio.Reader, counters *counters, line *line) (bool, error) {
	// A TLS handshake: answered as Go's server does, so that clients know to fall back to plain HTTP.
	if first, err := requests.Peek(1); err == nil && first[0] == 0x16 {
		_, err := io.WriteString(client, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")
		return false, err
	}
	in, err := http.ReadRequest(requests)
	if err != nil {
		return false, err
	}
	head, err := httputil.DumpRequest(in, false)
	if err != nil {
		return false, err
	}
	if err := in.Write(server); err != nil { // with the body, if there is one
		return false, err
	}
	out, err := http.ReadResponse(answers, in)
	if err != nil {
		return false, err
	}
	// The body is not closed: that would read it, and it is passed on below by its length.
	line.answer()

	entry := request{Method: in.Method, Path: in.URL.Path, Range: in.Header.Get("Range"), Status: out.StatusCode}
	answer, err := httputil.DumpResponse(out, false)
	if err != nil {
		return false, err
	}
	number := counters.head(entry, int64(len(head)), int64(len(answer)))
	count := func(n int64) { counters.body(number, entry, n) }

	if out.ContentLength < 0 || in.Method == "HEAD" { // chunked or without a body: rare, and small
		var body bytes.Buffer
		if err := out.Write(&body); err != nil {
			return false, err
		}
		count(int64(max(0, body.Len()-len(answer))))
		_, err := client.Write(body.Bytes())
		return !in.Close && !out.Close, err
	}
	if _, err := client.Write(answer); err != nil {
		return false, err
	}
	return !in.Close && !out.Close, body(client, server, answers, out.ContentLength, line, count)
}

// body passes on exactly length bytes: what is buffered already, then socket to socket, which Linux
// splices without a copy through this process.
func body(client, server net.Conn, answers *bufio.Reader, length int64, line *line, count func(int64)) error {
	for length > 0 {
		var source io.Reader = server
		want := min(length, line.piece())
		if buffered := int64(answers.Buffered()); buffered > 0 {
			source, want = answers, min(want, buffered)
		}
		n, err := io.CopyN(client, source, want)
		count(n)
		line.sent(n)
		if err != nil {
			return err
		}
		length -= n
	}
	return nil
}
