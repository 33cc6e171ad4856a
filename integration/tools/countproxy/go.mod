module chunked-snapshotter.test/tools/countproxy

go 1.26
