// Command descriptors prints what the recorded version of containerd's API module, or of Kubernetes' CRI, declares, in a form
// that the drift test of the Rust crate chunked-proto compares with proto/proto.
//
//	go run . > ../../../proto/tests/containerd-api-v1.12.0.json
//	go run . cri > ../../../proto/tests/cri-api-v0.37.0.json
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"

	content "github.com/containerd/containerd/api/services/content/v1"
	diff "github.com/containerd/containerd/api/services/diff/v1"
	images "github.com/containerd/containerd/api/services/images/v1"
	leases "github.com/containerd/containerd/api/services/leases/v1"
	namespaces "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshots "github.com/containerd/containerd/api/services/snapshots/v1"
	version "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/reflect/protoreflect"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	module    = "github.com/containerd/containerd/api"
	criModule = "k8s.io/cri-api"
)

// criMessages are those of CRI that our contracts have; it has hundreds of others.
var criMessages = []protoreflect.Name{"AuthConfig", "ImageSpec", "PullImageRequest", "PullImageResponse"}

// files are those our contracts take messages or services from.
var files = []protoreflect.FileDescriptor{
	types.File_types_descriptor_proto,
	types.File_types_mount_proto,
	content.File_services_content_v1_content_proto,
	diff.File_services_diff_v1_diff_proto,
	images.File_services_images_v1_images_proto,
	leases.File_services_leases_v1_leases_proto,
	namespaces.File_services_namespaces_v1_namespace_proto,
	snapshots.File_services_snapshots_v1_snapshots_proto,
	version.File_services_version_v1_version_proto,
}

// field is one message field; Label is optional, repeated or presence (a proto3 `optional`).
type field struct {
	Name   string `json:"name"`
	Number int32  `json:"number"`
	Label  string `json:"label"`
	Type   string `json:"type"`
}

type method struct {
	Input        string `json:"input"`
	Output       string `json:"output"`
	ClientStream bool   `json:"client_stream"`
	ServerStream bool   `json:"server_stream"`
}

// record is the printed document. encoding/json sorts map keys, so equal APIs give equal bytes.
type record struct {
	Module   string                       `json:"module"`
	Version  string                       `json:"version"`
	Messages map[string][]field           `json:"messages"`
	Enums    map[string]map[string]int32  `json:"enums"`
	Services map[string]map[string]method `json:"services"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "descriptors:", err)
		os.Exit(1)
	}
}

func run() error {
	r := record{
		Messages: map[string][]field{},
		Enums:    map[string]map[string]int32{},
		Services: map[string]map[string]method{},
	}
	var err error
	if len(os.Args) > 1 && os.Args[1] == "cri" {
		r.Module = criModule
		err = r.cri()
	} else {
		r.Module = module
		r.containerd()
	}
	if err != nil {
		return err
	}
	if r.Version, err = moduleVersion(r.Module); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	return out.Encode(r)
}

func (r *record) containerd() {
	for _, file := range files {
		r.messages(file.Messages())
		r.enums(file.Enums())
		r.services(file.Services())
	}
}

func (r *record) cri() error {
	file := cri.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto
	for _, name := range criMessages {
		message := file.Messages().ByName(name)
		if message == nil {
			return fmt.Errorf("CRI has no message %s", name)
		}
		r.message(message)
	}
	r.services(file.Services())
	delete(r.Services, "runtime.v1.RuntimeService")
	return nil
}

// moduleVersion is the version of a module this binary was built with.
func moduleVersion(module string) (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", fmt.Errorf("no build information: build in module mode")
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version, nil
		}
	}
	return "", fmt.Errorf("%s is not among the dependencies", module)
}

func (r *record) messages(all protoreflect.MessageDescriptors) {
	for i := range all.Len() {
		r.message(all.Get(i))
	}
}

func (r *record) message(message protoreflect.MessageDescriptor) {
	fields := []field{}
	for i := range message.Fields().Len() {
		fields = append(fields, describe(message.Fields().Get(i)))
	}
	r.Messages[string(message.FullName())] = fields
	r.messages(message.Messages())
	r.enums(message.Enums())
}

func describe(f protoreflect.FieldDescriptor) field {
	label := f.Cardinality().String()
	if f.HasOptionalKeyword() {
		label = "presence"
	}
	kind := f.Kind().String()
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		kind = string(f.Message().FullName())
	case protoreflect.EnumKind:
		kind = string(f.Enum().FullName())
	}
	return field{Name: string(f.Name()), Number: int32(f.Number()), Label: label, Type: kind}
}

func (r *record) enums(all protoreflect.EnumDescriptors) {
	for i := range all.Len() {
		values := map[string]int32{}
		enum := all.Get(i)
		for j := range enum.Values().Len() {
			value := enum.Values().Get(j)
			values[string(value.Name())] = int32(value.Number())
		}
		r.Enums[string(enum.FullName())] = values
	}
}

func (r *record) services(all protoreflect.ServiceDescriptors) {
	for i := range all.Len() {
		service := all.Get(i)
		methods := map[string]method{}
		for j := range service.Methods().Len() {
			m := service.Methods().Get(j)
			methods[string(m.Name())] = method{
				Input:        string(m.Input().FullName()),
				Output:       string(m.Output().FullName()),
				ClientStream: m.IsStreamingClient(),
				ServerStream: m.IsStreamingServer(),
			}
		}
		r.Services[string(service.FullName())] = methods
	}
}
