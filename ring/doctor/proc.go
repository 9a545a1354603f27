package doctor

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// processState is the state of a process as proc(5) has it: R, S, D, T, t, Z, X;
// 0 when there is none.
func processState(pid int) byte { return stateIn(fmt.Sprintf("/proc/%d/stat", pid)) }

// threadState is the same for a thread.
func threadState(pid, tid int) byte { return stateIn(fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid)) }

func stateIn(path string) byte {
	b, err := os.ReadFile(path)
	// The command, field 2, may hold spaces and parentheses.
	i := bytes.LastIndex(b, []byte(") "))
	if err != nil || i < 0 || i+2 >= len(b) {
		return 0
	}
	return b[i+2]
}

func alive(state byte) bool   { return state != 0 && state != 'Z' && state != 'X' }
func stopped(state byte) bool { return state == 'T' || state == 't' }

// describe puts a state into words.
func describe(state byte) string {
	switch state {
	case 0, 'X':
		return "no longer there"
	case 'Z':
		return "dead, state Z"
	case 'T', 't':
		return fmt.Sprintf("stopped, state %c", state)
	case 'D':
		return "waiting for a device, state D"
	case 'R':
		return "running"
	}
	return fmt.Sprintf("alive, state %c", state)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// short is an error without the address, which stands above it.
func short(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return text
}

// seconds shows a time for people.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
