// Package reference derives, from the declarations of all registered elements,
// what people and editors read: the pages of docs/reference and the JSON Schema of
// graph files. Nothing about an element stands here; what is missing in a page is
// missing in its declaration.
package reference
