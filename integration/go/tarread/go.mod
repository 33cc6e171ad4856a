module chunked-snapshotter/integration/tarread

go 1.25.0
