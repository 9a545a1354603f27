package reference

import (
	"strconv"

	"github.com/mpipe/mpipe/pipeline"
)

// object is a part of a JSON Schema.
type object = map[string]any

// Schema gives the JSON Schema (draft 2020-12) of graph files with these
// elements, for editors: completion, documentation and errors while one types.
// It cannot say all that `mpipe check` does.
func Schema(types []pipeline.Registration) map[string]any {
	return object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "mpipe graph",
		"type":    "object",
		"properties": object{
			"version": object{"const": 1, "description": "The version of the graph file."},
			"graph": object{"type": "object", "additionalProperties": false, "properties": object{
				"name": object{"type": "string", "description": "What the recording is called; else the file's name."}}},
			"params": object{"type": "object", "description": "Values given by --param NAME=VALUE, used as ${NAME}.",
				"additionalProperties": object{"type": "object", "additionalProperties": false, "properties": object{
					"required": object{"type": "boolean"}, "default": true, "doc": object{"type": "string"}}}},
			"sources": table(types, pipeline.RoleSource),
			"stages":  table(types, pipeline.RoleStage),
			"sinks":   table(types, pipeline.RoleSink),
		},
		"required":             []string{"version", "sources", "sinks"},
		"additionalProperties": false,
	}
}

// table is one of the tables of stages, keyed by id.
func table(types []pipeline.Registration, role pipeline.Role) object {
	var any []object
	for _, r := range types {
		if r.Role == role {
			any = append(any, stage(r))
		}
	}
	return object{
		"type":                 "object",
		"propertyNames":        object{"pattern": "^[a-z][a-z0-9_-]*$"},
		"additionalProperties": object{"oneOf": any},
	}
}

// common are the keys that belong to the planner, by role.
func common(role pipeline.Role) object {
	inputs := object{"type": "array", "items": object{"type": "string"}, "description": "What it takes: ids, or id.pad."}
	queue := object{"type": "object", "additionalProperties": false, "description": "The bounds of the queue in front of it.", "properties": object{
		"time": duration(), "size": size()}}
	switch role {
	case pipeline.RoleStage:
		return object{"inputs": inputs, "queue": queue}
	case pipeline.RoleSink:
		queue["properties"].(object)["when_full"] = object{"enum": []string{"block", "drop_gop", "drop_newest", "drop_oldest"}}
		return object{"inputs": inputs, "queue": queue,
			"required":  object{"type": "boolean", "default": true, "description": "false: it can neither hold up nor end the others."},
			"transcode": object{"enum": []string{"auto", "never"}, "default": "auto", "description": "Whether sound that it cannot hold is encoded once more for it."}}
	}
	return object{}
}

func stage(r pipeline.Registration) object {
	props := common(r.Role)
	props["type"] = object{"const": r.Type, "description": r.Doc}
	required := []string{"type"}
	if r.Role != pipeline.RoleSource {
		required = append(required, "inputs")
	}
	for _, s := range pipeline.Specs(r.New()) {
		props[s.Name] = property(s)
		if s.Required {
			required = append(required, s.Name)
		}
	}
	return object{"type": "object", "title": r.Type, "description": r.Doc, "properties": props, "required": required, "additionalProperties": false}
}

// reference is a text with a parameter in it, which may stand for any value.
func reference() object { return object{"type": "string", "pattern": `\$\{`} }

func duration() object {
	return object{"type": "string", "pattern": `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|\$\{`}
}

func size() object {
	return object{"anyOf": []object{{"type": "integer", "minimum": 0}, {"type": "string", "pattern": `^[0-9.]+ *(B|[kK]B|[MGT]B|[KMGT]iB)?$|\$\{`}}}
}

func property(s *pipeline.Spec) object {
	o := valueOf(s)
	o["description"] = s.Doc
	if s.Default != "" {
		o["default"] = defaultOf(s)
	}
	return o
}

func valueOf(s *pipeline.Spec) object {
	switch s.Type {
	case pipeline.TString:
		if len(s.OneOf) > 0 {
			return object{"anyOf": []object{{"enum": s.OneOf}, reference()}}
		}
		return object{"type": "string"}
	case pipeline.TInt:
		return object{"anyOf": []object{bounded(s, "integer"), reference()}}
	case pipeline.TFloat:
		return object{"anyOf": []object{bounded(s, "number"), reference()}}
	case pipeline.TBool:
		return object{"anyOf": []object{{"type": "boolean"}, reference()}}
	case pipeline.TDuration:
		return duration()
	case pipeline.TBitrate:
		return object{"anyOf": []object{{"type": "integer", "minimum": 0}, {"type": "string", "pattern": `^[0-9.]+ *[kKMG]?$|\$\{`}}}
	case pipeline.TSize:
		return size()
	case pipeline.TSecret:
		return secret()
	case pipeline.TSecretOrText:
		return object{"anyOf": []object{secret(), {"type": "string"}}}
	case pipeline.TStrings:
		return object{"type": "array", "items": object{"type": "string"}}
	default:
		return object{"type": "object"}
	}
}

func secret() object {
	one := func(key string) object {
		return object{"type": "object", "additionalProperties": false, "required": []string{key}, "properties": object{key: object{"type": "string"}}}
	}
	return object{"oneOf": []object{one("env"), one("file")}}
}

func bounded(s *pipeline.Spec, typ string) object {
	o := object{"type": typ}
	if f, err := strconv.ParseFloat(s.Min, 64); err == nil {
		o["minimum"] = f
	}
	if f, err := strconv.ParseFloat(s.Max, 64); err == nil {
		o["maximum"] = f
	}
	return o
}

// defaultOf is the default in the type that TOML gives it.
func defaultOf(s *pipeline.Spec) any {
	switch s.Type {
	case pipeline.TInt, pipeline.TFloat:
		if f, err := strconv.ParseFloat(s.Default, 64); err == nil {
			return f
		}
	case pipeline.TBool:
		return s.Default == "true"
	}
	return s.Default
}
