package hls

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Folder is a Store on disk. Files are written under another name, which begins
// with a dot, and renamed when they are whole.
type Folder string

// Create begins a file. The folder has to be there.
func (f Folder) Create(name string) (File, error) {
	w, err := os.OpenFile(filepath.Join(string(f), unfinishedName(name)), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o666)
	if err != nil {
		return nil, err
	}
	return &folderFile{File: w, to: filepath.Join(string(f), name)}, nil
}

func unfinishedName(name string) string { return "." + name + ".tmp" }

// Remove deletes a file; one that is not there is as good.
func (f Folder) Remove(name string) error {
	if err := os.Remove(filepath.Join(string(f), name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

type folderFile struct {
	*os.File
	to string
}

func (f *folderFile) Commit() error {
	err := f.Close()
	if err == nil {
		err = os.Rename(f.Name(), f.to)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func (f *folderFile) Discard() {
	f.Close()
	os.Remove(f.Name())
}

// Clear deletes the files of an earlier recording with this playlist, but not the
// playlist.
func (f Folder) Clear(playlist string) error {
	list, err := os.ReadDir(string(f))
	if err != nil {
		return err
	}
	for _, e := range list {
		if belongs(playlist, e.Name()) {
			if err := f.Remove(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// belongs tells the files of a playlist's recording by their names.
func belongs(playlist, name string) bool {
	if inner, ok := strings.CutSuffix(name, ".tmp"); ok {
		name = strings.TrimPrefix(inner, ".")
	}
	if name == InitName(playlist) || name == Unfinished(playlist) {
		return true
	}
	digits, ok := strings.CutPrefix(name, Stem(playlist)+"-")
	ending := path.Ext(digits)
	digits = strings.TrimSuffix(digits, ending)
	return ok && (ending == ".m4s" || ending == ".ts") && len(digits) >= 5 && strings.Trim(digits, "0123456789") == ""
}
