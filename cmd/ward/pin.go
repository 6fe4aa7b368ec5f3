package main

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ward/image"
)

// `ward compile --pin` writes into the image what every program, and every
// file that its dynamic linker will load, is: the creator compares. It reads
// ELF files and glibc's table of libraries, and executes nothing.

// pinInput is the file by which the confined compiler learns the digests of
// programs, as JSON, by domain. No source file has a name without an ending.
const pinInput = "digests"

// maxPinned is the size of a file that can be pinned, in bytes; the creator's is the same.
const maxPinned = 512 << 20

// pinImage makes an image whose programs are pinned: the system is compiled
// twice, since a policy may ask for the digests that the first image's
// programs turn out to have.
func pinImage(cmd *cobra.Command, dir string) ([]byte, *image.Image, error) {
	_, img, err := makeImage(cmd, dir)
	if err != nil {
		return nil, nil, err
	}
	digests := map[string]string{}
	pins := map[string][]image.Pin{}
	for i := range img.Domains {
		d := &img.Domains[i]
		if d.Program == "" { // the name server: who starts the system has its program
			continue
		}
		sum, err := fileSum(d.Program)
		if err != nil {
			return nil, nil, badInput("domain %s: %w", d.Name, err)
		}
		if len(d.Digest) > 0 && !bytes.Equal(d.Digest, sum) {
			return nil, nil, badInput("domain %s: %s has the SHA-256 %x, not the one that `digest` states", d.Name, d.Program, sum)
		}
		digests[d.Name] = "sha256:" + hex.EncodeToString(sum)
		if pins[d.Name], err = librariesOf(d); err != nil {
			return nil, nil, badInput("domain %s: %w", d.Name, err)
		}
	}
	encoded, err := json.Marshal(digests)
	if err != nil {
		return nil, nil, failed("%w", err)
	}
	c := new(compiled)
	if err := runConfinedWith(cmd.Context(), dir, &extra{pinInput, encoded}, c, confinedCommand); err != nil {
		return nil, nil, err
	}
	printFindings(cmd.ErrOrStderr(), dir, c.Findings, false)
	if c.Findings.Failed() {
		return nil, nil, &exitError{status: exitInput}
	}
	pinned, err := image.Decode(c.Image)
	if err != nil {
		return nil, nil, failed("image from the compiler: %w", err)
	}
	if len(pinned.Domains) != len(img.Domains) {
		return nil, nil, badInput("%s changed while it was compiled", dir)
	}
	for i := range pinned.Domains {
		d := &pinned.Domains[i]
		if d.Name != img.Domains[i].Name {
			return nil, nil, badInput("%s changed while it was compiled", dir)
		}
		d.Program, d.Pins = img.Domains[i].Program, pins[d.Name]
		if want := digests[d.Name]; want != "" && want != "sha256:"+hex.EncodeToString(d.Digest) {
			return nil, nil, failed("the compiler did not pin domain %s", d.Name)
		}
	}
	if err := pinned.Check(); err != nil {
		return nil, nil, failed("image: %w", err)
	}
	return image.Encode(pinned), pinned, nil
}

// pinnedDigests takes the digests out of the files of a confined compiler.
func pinnedDigests(fsys fs.FS) (map[string]string, error) {
	b, err := fs.ReadFile(fsys, pinInput)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var digests map[string]string
	return digests, json.Unmarshal(b, &digests)
}

// fileSum is the SHA-256 of a file.
func fileSum(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // not a FIFO: opening must not wait
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() || st.Size() > maxPinned {
		return nil, fmt.Errorf("%s is no file of at most %d bytes: it cannot be pinned", path, maxPinned)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxPinned)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return h.Sum(nil), nil
}

// linkerVariables make a dynamic linker load what nobody pinned.
var linkerVariables = []string{"LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT", "GLIBC_TUNABLES"}

// librariesOf pins what the dynamic linker loads for a domain's program.
func librariesOf(d *image.Domain) ([]image.Pin, error) {
	first, err := readELF(d.Program)
	if err != nil || first.linker == "" && len(first.needed) == 0 {
		return nil, err
	}
	for _, e := range d.Env {
		if name, _, _ := strings.Cut(e, "="); slices.Contains(linkerVariables, name) {
			return nil, fmt.Errorf("%s is set: with it the linker would load what cannot be pinned", name)
		}
	}
	cache, err := readLinkerCache(linkerCache, first.machine)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	queue := []string{first.linker}
	if cache != nil {
		queue = append(queue, linkerCache)
	}
	enqueue := func(o *object, of string) error {
		if o.runPath != "" {
			return fmt.Errorf("%s looks for libraries in %q (DT_RPATH or DT_RUNPATH), which --pin does not follow: link it without", of, o.runPath)
		}
		for _, name := range o.needed {
			places := find(cache, name)
			if len(places) == 0 {
				return fmt.Errorf("%s needs %s, which is not where the linker looks for libraries", of, name)
			}
			queue = append(queue, places...)
		}
		return nil
	}
	if err := enqueue(first, d.Program); err != nil {
		return nil, err
	}
	var pins []image.Pin
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		sum, err := fileSum(path)
		if err != nil {
			return nil, fmt.Errorf("library: %w", err)
		}
		pins = append(pins, image.Pin{Path: path, Digest: sum})
		if path == linkerCache {
			continue
		}
		o, err := readELF(path)
		if err != nil {
			return nil, err
		}
		if err := enqueue(o, path); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(pins, func(a, b image.Pin) int { return strings.Compare(a.Path, b.Path) })
	return pins, nil
}

// An object is what an ELF file says of what it needs.
type object struct {
	machine elf.Machine
	linker  string   // PT_INTERP; empty: none
	needed  []string // DT_NEEDED
	runPath string   // DT_RPATH or DT_RUNPATH
}

func readELF(path string) (*object, error) {
	src, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // not a FIFO: opening must not wait
	if err != nil {
		return nil, err
	}
	defer src.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := src.ReadAt(magic, 0); err != nil || string(magic) != elf.ELFMAG {
		return nil, fmt.Errorf("%s is no ELF file: what runs a script is its interpreter, so a digest of the script would pin nothing", path)
	}
	f, err := elf.NewFile(src)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	o := &object{machine: f.Machine}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz > 1 && p.Filesz <= unix.PathMax {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			o.linker = filepath.Clean(strings.TrimRight(string(b), "\x00"))
		}
	}
	if o.needed, err = f.ImportedLibraries(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		s, err := f.DynString(tag)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		o.runPath += strings.Join(s, ":")
	}
	return o, nil
}

// linkerCache is glibc's table of libraries (ld.so(8), ldconfig(8)).
const linkerCache = "/etc/ld.so.cache"

// cacheEntry is one of its entries (elf/dl-cache.h: struct file_entry_new).
type cacheEntry struct {
	Flags      int32
	Key, Value uint32 // offsets of the name and of the path
	_          uint32
	_          uint64 // the processor's features that it is for
}

// cacheFlags of libraries of an architecture: of libc6, and the ABI.
var cacheFlags = map[elf.Machine]int32{elf.EM_X86_64: 0x0303, elf.EM_AARCH64: 0x0a03}

// readLinkerCache reads the places of libraries by their names; nil if there is no table.
func readLinkerCache(path string, machine elf.Machine) (map[string][]string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	const magic = "glibc-ld.so.cache1.1"
	const head = 48
	start := bytes.Index(b, []byte(magic)) // an older table may stand in front
	if start < 0 || len(b) < start+head {
		return nil, fmt.Errorf("%s has a form that --pin does not know", path)
	}
	b = b[start:]
	text := func(at uint32) string {
		if int64(at) >= int64(len(b)) {
			return ""
		}
		s, _, _ := bytes.Cut(b[at:], []byte{0})
		return string(s)
	}
	places := map[string][]string{}
	entries := bytes.NewReader(b[head:])
	for range binary.LittleEndian.Uint32(b[len(magic):]) {
		var e cacheEntry
		if err := binary.Read(entries, binary.LittleEndian, &e); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if name := text(e.Key); e.Flags == cacheFlags[machine] && !slices.Contains(places[name], text(e.Value)) {
			places[name] = append(places[name], text(e.Value))
		}
	}
	return places, nil
}

// find returns all files that the linker may take for a name: those of the
// table, of which it chooses by what the processor can do, or, if there is
// none, the first in the usual directories.
func find(cache map[string][]string, name string) []string {
	if strings.Contains(name, "/") {
		return []string{filepath.Clean(name)}
	}
	if places := cache[name]; len(places) > 0 {
		return places
	}
	for _, dir := range []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return []string{path}
		}
	}
	return nil
}
