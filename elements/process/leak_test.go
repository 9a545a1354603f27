package process

import (
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

func TestNothingIsLeft(t *testing.T) {
	round := func() {
		e, _ := begun(t, "ok", 0, nil)
		if good, _, err := give(t, e, 10); good != 10 {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	round()
	time.Sleep(300 * time.Millisecond)
	before := runtime.NumGoroutine()
	for range 4 {
		round()
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
