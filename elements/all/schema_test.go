package all_test

import (
	"fmt"
	"reflect"
	"regexp"
)

// invalid checks a document against the part of JSON Schema that the project's
// schema uses, and says what is wrong, "" for nothing.
func invalid(schema any, v any) string {
	s, ok := schema.(map[string]any)
	if !ok {
		return "" // true: anything
	}
	if c, ok := s["const"]; ok && !reflect.DeepEqual(c, v) {
		return fmt.Sprintf("%v is not %v", v, c)
	}
	if list, ok := s["enum"].([]any); ok {
		for _, e := range list {
			if reflect.DeepEqual(e, v) {
				return ""
			}
		}
		return fmt.Sprintf("%v is none of %v", v, list)
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		if list, ok := s[key].([]any); ok {
			fits, last := 0, ""
			for _, e := range list {
				if w := invalid(e, v); w == "" {
					fits++
				} else {
					last = w
				}
			}
			if fits == 0 || key == "oneOf" && fits > 1 {
				return fmt.Sprintf("%d of %s fit: %s", fits, key, last)
			}
		}
	}
	return invalidType(s, v)
}

func invalidType(s map[string]any, v any) string {
	switch s["type"] {
	case "string":
		text, ok := v.(string)
		if p, has := s["pattern"].(string); !ok || has && !regexp.MustCompile(p).MatchString(text) {
			return fmt.Sprintf("%v is no text like %v", v, s["pattern"])
		}
	case "integer", "number":
		n, ok := v.(float64)
		if lo, has := s["minimum"].(float64); !ok || has && n < lo {
			return fmt.Sprintf("%v is no number of %v or more", v, s["minimum"])
		}
		if hi, has := s["maximum"].(float64); has && n > hi {
			return fmt.Sprintf("%v is more than %v", v, hi)
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return fmt.Sprintf("%v is not true or false", v)
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			return fmt.Sprintf("%v is no list", v)
		}
		for _, e := range list {
			if w := invalid(s["items"], e); w != "" {
				return w
			}
		}
	case "object":
		return invalidObject(s, v)
	}
	return ""
}

func invalidObject(s map[string]any, v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprintf("%v is no table", v)
	}
	props, _ := s["properties"].(map[string]any)
	for k, e := range m {
		part, known := props[k]
		if !known {
			if part, known = s["additionalProperties"]; known && part == false {
				return "unknown key " + k
			}
		}
		if w := invalid(part, e); w != "" {
			return k + ": " + w
		}
	}
	required, _ := s["required"].([]any)
	for _, k := range required {
		if _, ok := m[k.(string)]; !ok {
			return k.(string) + " is missing"
		}
	}
	return ""
}
