// Package tig stands in for nerdctl's test helper module, which has no release of its own.
// nerdctl's main program only names this interface; nothing calls it.
package tig

// T is the part of testing.T that nerdctl's test helpers take.
type T interface {
	Helper()
	Fail()
	FailNow()
	Log(args ...any)
	Name() string
	TempDir() string
	Skip(args ...any)
}
