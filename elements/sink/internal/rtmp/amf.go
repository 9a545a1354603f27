package rtmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// AMF0, after Adobe's "AMF 0 specification" (2007): float64, bool, string, nil,
// Object, and []any for strict arrays. An ECMA array is read as an Object, a
// date as its milliseconds, undefined as nil; the rest is refused.

// Object is a list of named values, in their order.
type Object []Field

// Field is one of them; Value is nil or one of the types above.
type Field struct {
	Name  string
	Value any
}

// Get gives the value of a name, nil without one.
func (o Object) Get(name string) any {
	for _, f := range o {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}

const (
	amfNumber     = 0x00
	amfBool       = 0x01
	amfString     = 0x02
	amfObject     = 0x03
	amfNull       = 0x05
	amfUndefined  = 0x06
	amfECMAArray  = 0x08
	amfObjectEnd  = 0x09
	amfArray      = 0x0a
	amfDate       = 0x0b
	amfLongString = 0x0c
)

// amfDepth bounds how deep values of a peer may be nested.
const amfDepth = 16

// appendAMF writes values; of a type that AMF0 does not have it writes null.
func appendAMF(b []byte, values ...any) []byte {
	for _, v := range values {
		switch x := v.(type) {
		case float64:
			b = binary.BigEndian.AppendUint64(append(b, amfNumber), math.Float64bits(x))
		case bool:
			n := byte(0)
			if x {
				n = 1
			}
			b = append(b, amfBool, n)
		case string:
			if len(x) > math.MaxUint16 {
				b = binary.BigEndian.AppendUint32(append(b, amfLongString), uint32(len(x)))
				b = append(b, x...)
			} else {
				b = appendAMFName(append(b, amfString), x)
			}
		case Object:
			b = append(b, amfObject)
			for _, f := range x {
				b = appendAMF(appendAMFName(b, f.Name), f.Value)
			}
			b = append(b, 0, 0, amfObjectEnd)
		case []any:
			b = binary.BigEndian.AppendUint32(append(b, amfArray), uint32(len(x)))
			b = appendAMF(b, x...)
		default:
			b = append(b, amfNull)
		}
	}
	return b
}

func appendAMFName(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

var errAMF = errors.New("malformed AMF0")

// readAMF reads all values of a message.
func readAMF(b []byte) ([]any, error) {
	d := amfDecoder{b}
	var out []any
	for len(d.b) > 0 {
		v, err := d.value(0)
		if err != nil {
			return out, err
		}
		out = append(out, v)
	}
	return out, nil
}

type amfDecoder struct{ b []byte }

func (d *amfDecoder) take(n int) ([]byte, error) {
	if n < 0 || n > len(d.b) {
		return nil, errAMF
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out, nil
}

func (d *amfDecoder) uint(n int) (v uint64, err error) {
	b, err := d.take(n)
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v, err
}

func (d *amfDecoder) text(lengthBytes int) (string, error) {
	n, err := d.uint(lengthBytes)
	if err != nil {
		return "", err
	}
	b, err := d.take(int(n))
	return string(b), err
}

func (d *amfDecoder) value(depth int) (any, error) {
	if depth > amfDepth {
		return nil, fmt.Errorf("%w: nested too deep", errAMF)
	}
	marker, err := d.uint(1)
	if err != nil {
		return nil, err
	}
	switch marker {
	case amfNumber:
		n, err := d.uint(8)
		return math.Float64frombits(n), err
	case amfBool:
		n, err := d.uint(1)
		return n != 0, err
	case amfString:
		return d.text(2)
	case amfLongString:
		return d.text(4)
	case amfNull, amfUndefined:
		return nil, nil
	case amfDate:
		n, err := d.uint(8)
		if err == nil {
			_, err = d.take(2) // the time zone, to be ignored
		}
		return math.Float64frombits(n), err
	case amfECMAArray:
		if _, err := d.take(4); err != nil { // a count that need not be right
			return nil, err
		}
		return d.object(depth)
	case amfObject:
		return d.object(depth)
	case amfArray:
		return d.array(depth)
	}
	return nil, fmt.Errorf("%w: type %#x is not known", errAMF, marker)
}

func (d *amfDecoder) object(depth int) (Object, error) {
	o := Object{}
	for {
		name, err := d.text(2)
		if err != nil {
			return nil, err
		}
		if name == "" && len(d.b) > 0 && d.b[0] == amfObjectEnd {
			d.b = d.b[1:]
			return o, nil
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o = append(o, Field{name, v})
	}
}

func (d *amfDecoder) array(depth int) ([]any, error) {
	n, err := d.uint(4)
	if err != nil || n > uint64(len(d.b)) { // each has a byte at least
		return nil, errAMF
	}
	out := make([]any, 0, n)
	for range n {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
