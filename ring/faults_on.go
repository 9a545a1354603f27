//go:build mpipe_faults

package ring

// faultHook is called at every fault point; it may not come back. It is set
// before the first use of the package. Only binaries of tests have it.
var faultHook func(faultPoint)

func fault(p faultPoint) {
	if faultHook != nil {
		faultHook(p)
	}
}
