package main

import (
	"strings"
	"sync"
)

// totals is what /stats shows. Bytes are those of TCP payload, headers included, unless it says body.
type totals struct {
	Connections   int              `json:"connections"`
	Requests      int              `json:"requests"`
	Down          int64            `json:"down"`           // to the client
	Up            int64            `json:"up"`             // to the registry (request heads only)
	BlobBody      int64            `json:"blob_body"`      // bodies of answers to GET …/blobs/…
	BlobRequests  int              `json:"blob_requests"`  // GET …/blobs/…
	RangeRequests int              `json:"range_requests"` // with a Range header
	Ranges        int              `json:"ranges"`         // all ranges of all Range headers
	MostRanges    int              `json:"most_ranges"`    // of one request
	Status        map[int]int      `json:"status"`         // answers by status code
	BodyOf        map[string]int64 `json:"body_of"`        // body bytes by blob digest
}

// request is one line of /log.
type request struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Range  string `json:"range,omitempty"`
	Status int    `json:"status"`
	Body   int64  `json:"body"`
}

// logLimit bounds /log; the counters go on beyond it.
const logLimit = 100_000

type counters struct {
	mu  sync.Mutex
	sum totals
	log []request
}

func (c *counters) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum, c.log = totals{}, nil
}

func (c *counters) snapshot() totals {
	c.mu.Lock()
	defer c.mu.Unlock()
	copied := c.sum
	copied.Status, copied.BodyOf = map[int]int{}, map[string]int64{}
	for status, count := range c.sum.Status {
		copied.Status[status] = count
	}
	for digest, bytes := range c.sum.BodyOf {
		copied.BodyOf[digest] = bytes
	}
	return copied
}

func (c *counters) requests() []request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]request{}, c.log...)
}

func (c *counters) connection() {
	c.mu.Lock()
	c.sum.Connections++
	c.mu.Unlock()
}

// head counts a request and its answer's head, and gives the number by which body() names the request.
func (c *counters) head(r request, up, down int64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum.Requests++
	c.sum.Up += up
	c.sum.Down += down
	if c.sum.Status == nil {
		c.sum.Status = map[int]int{}
	}
	c.sum.Status[r.Status]++
	if blobDigest(r) != "" {
		c.sum.BlobRequests++
	}
	if r.Range != "" {
		n := strings.Count(r.Range, ",") + 1
		c.sum.RangeRequests++
		c.sum.Ranges += n
		c.sum.MostRanges = max(c.sum.MostRanges, n)
	}
	if len(c.log) == logLimit {
		return -1
	}
	c.log = append(c.log, r)
	return len(c.log) - 1
}

// body counts bytes of an answer's body as they go to the client, so that a broken transfer counts too.
func (c *counters) body(number int, r request, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum.Down += bytes
	if digest := blobDigest(r); digest != "" {
		if c.sum.BodyOf == nil {
			c.sum.BodyOf = map[string]int64{}
		}
		c.sum.BlobBody += bytes
		c.sum.BodyOf[digest] += bytes
	}
	if number >= 0 && number < len(c.log) {
		c.log[number].Body += bytes
	}
}

func blobDigest(r request) string {
	if _, digest, found := strings.Cut(r.Path, "/blobs/"); found && r.Method == "GET" {
		return digest
	}
	return ""
}
