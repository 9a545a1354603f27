package pipeline

import (
	"fmt"
	"sort"
	"sync"
)

// Role is what an element does in a graph.
type Role string

const (
	RoleSource Role = "source"
	RoleStage  Role = "stage" // filter or encoder: one input, one output
	RoleSink   Role = "sink"
)

// Table is the graph file's table that holds stages of the role.
func (r Role) Table() string {
	switch r {
	case RoleSource:
		return "sources"
	case RoleSink:
		return "sinks"
	default:
		return "stages"
	}
}

// Registration is an element that graph files can name.
type Registration struct {
	Type string
	Role Role
	Doc  string
	New  func() Element
}

var registry = struct {
	sync.Mutex
	m map[string]Registration
}{m: map[string]Registration{}}

// Register makes *T known under a type name; call it from init. doc is one
// sentence. The role is stage unless T is a Source; sinks use [RegisterSink].
// It panics on a name used twice: two packages in one binary disagree.
func Register[T any, P interface {
	*T
	Element
}](typ, doc string) {
	role := RoleStage
	if _, ok := any(P(new(T))).(Source); ok {
		role = RoleSource
	}
	register(Registration{typ, role, doc, func() Element { return P(new(T)) }})
}

// RegisterSink is Register for an element that ends a graph.
func RegisterSink[T any, P interface {
	*T
	Element
}](typ, doc string) {
	register(Registration{typ, RoleSink, doc, func() Element { return P(new(T)) }})
}

func register(r Registration) {
	registry.Lock()
	defer registry.Unlock()
	if _, dup := registry.m[r.Type]; dup {
		panic(fmt.Sprintf("pipeline: element type %q registered twice", r.Type))
	}
	e := r.New()
	if n := roles(e, r.Role); n != 1 {
		panic(fmt.Sprintf("pipeline: element type %q has %d roles and must have exactly one: Source, Filter, Viewer or Native; a sink is a Viewer or a Native", r.Type, n))
	}
	Specs(e) // a broken declaration panics now, not at the first use
	registry.m[r.Type] = r
}

// roles counts the roles that an element has and may have in its table.
func roles(e Element, role Role) (n int) {
	_, source := e.(Source)
	_, filter := e.(Filter)
	_, viewer := e.(Viewer)
	_, native := e.(Native)
	for _, has := range []bool{source, filter && role != RoleSink, viewer, native} {
		if has {
			n++
		}
	}
	return n
}

// Lookup finds an element by its type name.
func Lookup(typ string) (Registration, bool) {
	registry.Lock()
	defer registry.Unlock()
	r, ok := registry.m[typ]
	return r, ok
}

// Types lists all registered elements, sorted by role and name.
func Types() []Registration {
	registry.Lock()
	defer registry.Unlock()
	out := make([]Registration, 0, len(registry.m))
	for _, r := range registry.m {
		out = append(out, r)
	}
	order := map[Role]int{RoleSource: 0, RoleStage: 1, RoleSink: 2}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Role != out[j].Role {
			return order[out[i].Role] < order[out[j].Role]
		}
		return out[i].Type < out[j].Type
	})
	return out
}
