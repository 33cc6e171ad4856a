// socid serves the SOCI snapshotter as a library over a unix socket: a peer for `make bench`.
//
//	socid -address SOCKET -root DIRECTORY -config soci.toml
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"

	"github.com/awslabs/soci-snapshotter/config"
	"github.com/awslabs/soci-snapshotter/service"
	snapshots "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
)

// withNamespace hands the caller's namespace on to the calls that SOCI makes for it.
func withNamespace(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if namespace, found := namespaces.Namespace(ctx); found {
		ctx = namespaces.WithNamespace(ctx, namespace)
	}
	return next(ctx, request)
}

func serve(address, root, configuration string) error {
	settings, err := config.NewConfigFromToml(configuration)
	if err != nil {
		return err
	}
	snapshotter, err := service.NewSociSnapshotterService(context.Background(), root, &settings.ServiceConfig)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(withNamespace))
	snapshots.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	return server.Serve(listener)
}

func main() {
	address := flag.String("address", "", "socket to serve")
	root := flag.String("root", "", "directory for SOCI's state")
	configuration := flag.String("config", "", "SOCI's own configuration file")
	flag.Parse()
	if err := serve(*address, *root, *configuration); err != nil {
		fmt.Fprintln(os.Stderr, "socid:", err)
		os.Exit(1)
	}
}
