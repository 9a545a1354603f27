package ring

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestModels has Spin search every state of the models in model/. A mutant, a
// model with one rule of the protocol left out, must fail: that is how a rule is
// known to be needed, and the model to be able to notice.
func TestModels(t *testing.T) {
	for _, m := range []struct {
		file    string
		holds   []string // variants that must hold
		mutants []string
	}{
		{"eventcount.pml", []string{"", "LARGE"}, []string{
			"NO_FENCE_COMMIT", "NO_FENCE_RELEASE", "NO_FENCE_SLEEP", "NO_FENCE_SPACE", "WAKE_FIRST",
			"NO_SECOND_LOOK", "NO_SECOND_TRY", "KEY_LATE", "LARGE NO_WANTS_AGAIN", "LARGE NO_FULL",
		}},
		{"recovery.pml", []string{"", "HANGUP"}, []string{
			"TIMEOUT", "EARLY_END", "ANY_TAG", "TAG_FIRST", "SKIP_ONE", "SKIP_ALL", "BLIND_CAS", "HANGUP TIMEOUT",
		}},
		{"replace.pml", []string{""}, []string{
			"SAME_MEMORY", "NO_HOLD", "COUNT_ONCE", "NO_FINAL", "TWO_ADOPT", "NO_STATE", "COUNT_READ",
		}},
	} {
		if testing.Short() {
			m.holds, m.mutants = m.holds[:1], m.mutants[:2]
		}
		for _, variant := range m.holds {
			t.Run(m.file+" "+variant, func(t *testing.T) {
				out := spin(t, m.file, variant, "-O1")
				if spinErrors(t, out) != "0" {
					t.Errorf("the model fails:\n%s", out)
				}
				t.Logf("%s states", spinStates.FindStringSubmatch(out)[1])
			})
		}
		for _, mutant := range m.mutants {
			t.Run(m.file+" mutant "+mutant, func(t *testing.T) {
				if out := spin(t, m.file, mutant, "-O0"); spinErrors(t, out) == "0" {
					t.Errorf("the mutant was not caught:\n%s", out)
				}
			})
		}
	}
}

var (
	spinErrorsLine = regexp.MustCompile(`errors: (\d+)`)
	spinStates     = regexp.MustCompile(`(\d+) states, stored`)
)

// spinErrors gives the number of errors of a search that went through.
func spinErrors(t *testing.T, out string) string {
	m := spinErrorsLine.FindStringSubmatch(out)
	if m == nil || spinStates.FindStringSubmatch(out) == nil {
		t.Fatalf("no verdict:\n%s", out)
	}
	if m[1] == "0" && (strings.Contains(out, "Search not completed") || strings.Contains(out, "max search depth")) {
		t.Fatalf("the search did not go through:\n%s", out)
	}
	return m[1]
}

// spin searches one variant: safety alone, which is assertions and deadlocks.
func spin(t *testing.T, file, defines, optimize string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	model, err := filepath.Abs(filepath.Join("model", file))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{}
	for _, d := range strings.Fields(defines) {
		args = append(args, "-D"+d)
	}
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v (is everything installed that scripts/setup installs?)\n%s", name, err, out)
		}
		return string(out)
	}
	run("spin", append(append(args, "-a"), model)...)
	run("gcc", "-w", optimize, "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=1024", "-o", "pan", "pan.c")
	return run("./pan", "-m20000")
}
