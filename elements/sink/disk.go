package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/pipeline"
)

// Watch has the file finished while there is room for that: a muxer that finds the
// disk full can no longer write its index.
func (f *file) Watch() error {
	if f.minFree == 0 {
		return nil
	}
	st, err := os.Stat(f.path)
	switch {
	case err == nil && !st.Mode().IsRegular():
		return nil // a pipe or a device has no room that could be told
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(f.path)); err != nil {
			return nil // what is gone is the run's to find, which says so of the file
		}
	}
	free, err := freeBelow(filepath.Dir(f.path))
	if err != nil || free >= f.minFree {
		return nil // a file system that cannot tell has to be trusted
	}
	return &pipeline.Error{Class: pipeline.Environment,
		Msg:    fmt.Sprintf("the disk of %s has %s left, and min_free_disk is %s", f.path, pipeline.FormatSize(free), pipeline.FormatSize(f.minFree)),
		Remedy: "free space, choose another disk, or set min_free_disk lower"}
}

// freeBelow tells how many bytes an ordinary user may still write in a folder.
func freeBelow(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Probe finds out whether the file could be written, and makes nothing.
func (f *file) Probe(context.Context) error {
	if st, err := os.Stat(f.path); err == nil {
		if !st.Mode().IsRegular() {
			return f.openSpecial(st)
		}
		if !f.overwrite {
			return pipeline.At("path", "%s is already there; choose another path, or add overwrite = true to replace it", f.path)
		}
	}
	dir := filepath.Dir(f.path)
	for dir != filepath.Dir(dir) {
		if st, err := os.Stat(dir); err == nil {
			if !st.IsDir() {
				return pipeline.At("path", "%s is no folder; choose another path", dir)
			}
			break
		}
		dir = filepath.Dir(dir) // it would be made
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return pipeline.At("path", "nothing can be written into %s: %w; choose another path, or allow it", dir, err)
	}
	free, err := freeBelow(dir)
	if err == nil && free < f.minFree {
		return pipeline.At("path", "the disk of %s has %s left, less than min_free_disk; free space, or choose another disk", dir, pipeline.FormatSize(free))
	}
	return nil
}
