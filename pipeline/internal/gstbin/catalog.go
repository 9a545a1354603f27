package gstbin

// #include "shim.h"
import "C"

import (
	"sort"
	"strings"
	"sync"
	"unsafe"

	"github.com/mpipe/mpipe/pipeline"
)

// Catalog reads GStreamer's registry. The zero value is ready; [Init] must have
// run. It may be used from several goroutines.
type Catalog struct {
	mu    sync.Mutex
	known map[string]*pipeline.Factory
}

// Factories lists the names of all installed elements, sorted.
func (c *Catalog) Factories() []string {
	text := C.mpipe_factory_names()
	defer C.g_free(C.gpointer(unsafe.Pointer(text)))
	names := strings.Split(strings.TrimSuffix(C.GoString(text), "\x1e"), "\x1e")
	sort.Strings(names)
	return names
}

// Factory describes one installed element; it loads its plugin.
func (c *Catalog) Factory(name string) (pipeline.Factory, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.known[name]; ok {
		if f == nil {
			return pipeline.Factory{}, false
		}
		return *f, true
	}
	f := readFactory(name)
	if c.known == nil {
		c.known = map[string]*pipeline.Factory{}
	}
	c.known[name] = f
	if f == nil {
		return pipeline.Factory{}, false
	}
	return *f, true
}

func readFactory(name string) *pipeline.Factory {
	cname, free := cstr(name)
	defer free()
	text := C.mpipe_factory_info(cname)
	if text == nil {
		return nil
	}
	defer C.g_free(C.gpointer(unsafe.Pointer(text)))
	f := &pipeline.Factory{Name: name}
	for _, rec := range strings.Split(C.GoString(text), "\x1e") {
		col := strings.Split(rec, "\x1f")
		switch {
		case col[0] == "factory" && len(col) == 4:
			f.LongName, f.Klass, f.Plugin = col[1], col[2], col[3]
		case col[0] == "pad" && len(col) >= 4:
			f.Pads = append(f.Pads, pipeline.PadTemplate{Name: col[1], Source: col[2] == "1", Presence: col[3], Caps: col[4:]})
		case col[0] == "prop" && len(col) == 9:
			f.Props = append(f.Props, readProp(col))
		case col[0] == "padprop" && len(col) == 9:
			pad := &f.Pads[len(f.Pads)-1]
			pad.Props = append(pad.Props, readProp(col))
		}
	}
	sort.Slice(f.Props, func(i, j int) bool { return f.Props[i].Name < f.Props[j].Name })
	return f
}

func readProp(col []string) pipeline.FactoryProp {
	p := pipeline.FactoryProp{Name: col[1], Type: col[2], Doc: col[3], Default: col[4], Writable: col[5] == "1", Min: col[7], Max: col[8]}
	if col[6] != "" {
		p.Values = strings.Split(col[6], ",")
	}
	return p
}
