// Package e2e tests mpipe as its users have it: the built program, other
// processes as producers, real media files, real signals and kills. Everything
// that can be tested inside one package is tested there.
package e2e
