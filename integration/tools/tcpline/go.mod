module chunked-snapshotter.test/tools/tcpline

go 1.26
