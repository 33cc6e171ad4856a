// refcopy copies an image with the reference implementation of zstd:chunked (go.podman.io/image).
//
// It is both sides of that format in our tests and benchmarks:
//
//	refcopy -compress zstd:chunked oci:DIR:TAG oci:OTHER:TAG      the reference writer
//	refcopy docker://HOST/NAME:TAG containers-storage:NAME:TAG     the reference partial puller
//
// The puller reads CONTAINERS_STORAGE_CONF, which has to enable partial images.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/reexec"
)

func main() {
	if reexec.Init() { // containers-storage starts this program again to unpack inside a chroot
		return
	}
	format := flag.String("compress", "", "compress layers anew: gzip, zstd or zstd:chunked (default: leave them as they are)")
	level := flag.Int("level", 0, "compression level (0: the format's default)")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: refcopy [flags] SOURCE DESTINATION (transport:reference, as in skopeo)")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.Arg(0), flag.Arg(1), *format, *level); err != nil {
		fmt.Fprintf(os.Stderr, "refcopy: %v\n", err)
		os.Exit(1)
	}
}

// run copies source to destination; format and level say how layers are compressed on the way.
func run(ctx context.Context, source, destination, format string, level int) error {
	from, err := alltransports.ParseImageName(source)
	if err != nil {
		return fmt.Errorf("source %q: %w", source, err)
	}
	to, err := alltransports.ParseImageName(destination)
	if err != nil {
		return fmt.Errorf("destination %q: %w", destination, err)
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return fmt.Errorf("signature policy: %w", err)
	}
	defer policy.Destroy()

	// A blob-info cache of this run alone: with an older one, the copy would reuse an earlier blob of the same
	// DiffID in another compression, and a comparison of formats would compare one format with itself.
	cache, err := os.MkdirTemp("", "refcopy-")
	if err != nil {
		return fmt.Errorf("blob-info cache: %w", err)
	}
	defer os.RemoveAll(cache)
	system := types.SystemContext{
		BlobInfoCacheDir:            cache,
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue, // test registries on loopback speak plain HTTP
	}
	sourceContext, destinationContext := system, system
	options := &copy.Options{
		ReportWriter:   os.Stdout,
		SourceCtx:      &sourceContext,
		DestinationCtx: &destinationContext,
	}
	if format != "" {
		algorithm, err := compression.AlgorithmByName(format)
		if err != nil {
			return fmt.Errorf("compression %q: %w", format, err)
		}
		destinationContext.CompressionFormat = &algorithm
		if level != 0 {
			destinationContext.CompressionLevel = &level
		}
		options.ForceCompressionFormat = true
	}
	_, err = copy.Image(ctx, policy, to, from, options)
	return err
}
