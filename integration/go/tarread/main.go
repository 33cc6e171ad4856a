// tarread prints how Go's archive/tar reads tars, and what containerd's unpack makes of them.
//
// Standard input: tars, each after its length in 4 bytes, little-endian. Standard output: a line for each. Before a bar
// stand the headers as archive/tar gives them; behind it the entries as pkg/archive of containerd 2.4 applies them, with a
// hash of each file. Both end with "end", or with "!" and the reason why reading stops. plugin/tar prints the same of its
// own reading (plugin/tar/tests/common/print.rs), and its example against_go compares the two.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"math"
	"os"
	"sort"
	"strings"
	"time"
)

// huge is the size in bytes beyond which files are not read: a header can announce terabytes of zeros.
const huge = 4 << 20

const xattrPrefix = "SCHILY.xattr."

func main() {
	in, out := bufio.NewReaderSize(os.Stdin, 1<<20), bufio.NewWriterSize(os.Stdout, 1<<20)
	defer out.Flush()
	for {
		var length [4]byte
		if _, err := io.ReadFull(in, length[:]); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		data := make([]byte, binary.LittleEndian.Uint32(length[:]))
		if _, err := io.ReadFull(in, data); err != nil {
			log.Fatal(err)
		}
		var text strings.Builder
		headers(&text, data)
		text.WriteByte('|')
		entries(&text, data)
		text.WriteByte('\n')
		out.WriteString(text.String())
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
}

// reader hides that the bytes can be sought, as in a layer's stream.
func reader(data []byte) *tar.Reader {
	return tar.NewReader(struct{ io.Reader }{bytes.NewReader(data)})
}

func headers(text *strings.Builder, data []byte) {
	r := reader(data)
	for {
		h, err := r.Next()
		if err != nil {
			text.WriteString(reason(err))
			return
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			fmt.Fprintf(text, "67 %s ;", hex.EncodeToString([]byte(h.Name)))
			continue
		}
		fmt.Fprintf(text, "%02x %s %s %d %d %d %d %s %s %s %d %d %s;", h.Typeflag, hex.EncodeToString([]byte(h.Name)),
			hex.EncodeToString([]byte(h.Linkname)), h.Mode, h.Uid, h.Gid, h.Size, instant(h.ModTime), instant(h.AccessTime),
			instant(h.ChangeTime), h.Devmajor, h.Devminor, xattrs(h))
	}
}

func instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%d.%d", t.Unix(), t.Nanosecond())
}

func xattrs(h *tar.Header) string {
	var names []string
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, xattrPrefix) {
			names = append(names, key)
		}
	}
	sort.Strings(names)
	var text strings.Builder
	for _, key := range names {
		fmt.Fprintf(&text, "%s=%s,", hex.EncodeToString([]byte(key[len(xattrPrefix):])), hex.EncodeToString([]byte(h.PAXRecords[key])))
	}
	return text.String()
}

func reason(err error) string {
	switch {
	case err == io.EOF:
		return "end"
	case errors.Is(err, tar.ErrHeader):
		return "!header"
	case errors.Is(err, tar.ErrFieldTooLong):
		return "!toolong"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "!cut"
	case err.Error() == "archive/tar: sparse map too long":
		return "!sparselong"
	case strings.HasPrefix(err.Error(), "archive/tar: sparse file "):
		return "!sparsedata"
	}
	return "!" + err.Error()
}

// entries follows applyNaive and createTarFile, as far as they look at nothing but the tar.
func entries(text *strings.Builder, data []byte) {
	r := reader(data)
	for {
		h, err := r.Next()
		if err != nil {
			text.WriteString(reason(err))
			return
		}
		var what string
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
			fmt.Fprintf(text, "global %s;", hex.EncodeToString([]byte(h.Name)))
			continue
		// containerd refuses old GNU sparse files; we read them on purpose.
		case tar.TypeReg, tar.TypeGNUSparse:
			if h.Size > huge {
				text.WriteString("huge")
				return
			}
			hash := fnv.New64a()
			n, err := io.Copy(hash, r)
			if err != nil {
				text.WriteString(reason(err))
				return
			}
			what = fmt.Sprintf("file %d %x", n, hash.Sum64())
		case tar.TypeDir:
			what = "dir"
		case tar.TypeSymlink:
			what = "symlink " + hex.EncodeToString([]byte(h.Linkname))
		case tar.TypeLink:
			what = "link " + hex.EncodeToString([]byte(h.Linkname))
		case tar.TypeChar, tar.TypeBlock:
			if h.Devmajor < 0 || h.Devmajor > math.MaxUint32 || h.Devminor < 0 || h.Devminor > math.MaxUint32 {
				text.WriteString("!device")
				return
			}
			word := map[byte]string{tar.TypeChar: "char", tar.TypeBlock: "block"}[h.Typeflag]
			what = fmt.Sprintf("%s %d %d", word, h.Devmajor, h.Devminor)
		case tar.TypeFifo:
			what = "fifo"
		default:
			text.WriteString("!type")
			return
		}
		// chown takes the low 32 bits, chmod the low 12.
		fmt.Fprintf(text, "%s %s %o %d %d %s;", what, hex.EncodeToString([]byte(h.Name)), h.Mode&07777, uint32(h.Uid), uint32(h.Gid), xattrs(h))
	}
}
