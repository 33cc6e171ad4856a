// Package snconform runs containerd's own snapshotter conformance suite against a snapshotter that is
// served on a unix socket: ours directly, or containerd's (then its metadata store is tested with ours).
//
//	SN_SOCK   absolute path of the socket (required)
//	SN_NAME   snapshotter name in the requests (default "proxy"); containerd's socket picks the plugin by it
//	SN_SUITE  name the suite runs under (default "overlayfs": leaves out the rename of a lower directory,
//	          which overlay without redirect_dir answers with EXDEV)
//
// Run it with -test.root -test.parallel 1: every subtest expects a snapshotter of its own and calls
// t.Parallel, but here all of them share one.
package snconform

import (
	"context"
	"fmt"
	"os"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	_ "github.com/containerd/containerd/v2/pkg/testutil" // registers the -test.root flag
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func setting(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

// empty removes every snapshot that can be removed, children first: another pass follows as long as the
// last one removed something. A snapshot in use is left.
func empty(ctx context.Context, sn snapshots.Snapshotter) error {
	for {
		var keys []string
		if err := sn.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			keys = append(keys, info.Name)
			return nil
		}); err != nil {
			return fmt.Errorf("list snapshots: %w", err)
		}
		removed := 0
		for _, key := range keys {
			if sn.Remove(ctx, key) == nil {
				removed++
			}
		}
		if removed == 0 {
			return nil
		}
	}
}

// dial gives a subtest its (empty) snapshotter. The root directory is for snapshotters in the test's own
// process; a served one has its own.
func dial(ctx context.Context, _ string) (snapshots.Snapshotter, func() error, error) {
	conn, err := grpc.NewClient("unix://"+os.Getenv("SN_SOCK"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	sn := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), setting("SN_NAME", "proxy"))
	ctx = namespaces.WithNamespace(ctx, "testsuite")
	if err := empty(ctx, sn); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return sn, func() error {
		if err := empty(ctx, sn); err != nil {
			return err
		}
		return conn.Close()
	}, nil
}

func TestProxy(t *testing.T) {
	if os.Getenv("SN_SOCK") == "" {
		t.Fatal("SN_SOCK is not set: the socket of the snapshotter to test")
	}
	testsuite.SnapshotterSuite(t, setting("SN_SUITE", "overlayfs"), dial)
}
