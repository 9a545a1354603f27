package pipeline

import "fmt"

// Catalog knows the GStreamer elements that are installed.
type Catalog interface {
	Factory(name string) (Factory, bool)
	// Factories gives all names, sorted, for "did you mean".
	Factories() []string
}

// Factory is an installed GStreamer element, as its plugin describes it.
type Factory struct {
	Name     string
	LongName string
	Klass    string // "Codec/Encoder/Video"
	Plugin   string
	Pads     []PadTemplate
	Props    []FactoryProp
}

// PadTemplate is one of a factory's pads.
type PadTemplate struct {
	Name     string // "sink", "video_%u"
	Source   bool   // a source pad, rather than a sink pad
	Presence string // "always", "sometimes" or "request"
	Caps     []string
	Props    []FactoryProp // of the pads themselves; nil for most
}

// FactoryProp is one property of a factory.
type FactoryProp struct {
	Name     string
	Type     string // GLib's type name: "gint", "gchararray", "GstX264EncTune"
	Doc      string
	Default  string
	Writable bool
	Values   []string // nicks of an enum or flags type
	Min, Max string   // bounds of a number; "" without
}

// Installed finds a factory, or says what is near and where to look.
func Installed(cat Catalog, name string) (Factory, error) {
	f, ok := cat.Factory(name)
	if ok {
		return f, nil
	}
	hint := "gst-inspect-1.0 lists what is; the Debian packages gstreamer1.0-plugins-{base,good,bad,ugly} and gstreamer1.0-libav hold most elements"
	if n := Nearest(name, cat.Factories()); n != "" {
		hint = fmt.Sprintf("did you mean %q?", n)
	}
	return f, At("element", "no GStreamer element %q is installed; %s", name, hint)
}
