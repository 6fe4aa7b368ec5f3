package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ward/vm/internal/plan"
)

// kernelPackage is Debian's package that depends on the newest cloud kernel.
const kernelPackage = "linux-image-cloud-amd64"

// kernel returns the path of a 6.1 kernel, fetched into dir if it is not there.
func kernel(dir string) (string, error) {
	pattern := filepath.Join(dir, "kernel/boot/vmlinuz-6.1*")
	if found, _ := filepath.Glob(pattern); len(found) > 0 {
		return found[len(found)-1], nil
	}
	out, err := exec.Command("apt-cache", "depends", kernelPackage).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache depends %s: %w (run apt-get update, or give -kernel FILE)", kernelPackage, err)
	}
	var name string
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "linux-image-6.1.") {
			name = word
		}
	}
	if name == "" {
		return "", fmt.Errorf("%s is no 6.1 kernel here: fetch Debian 12's and give -kernel FILE", kernelPackage)
	}
	for _, step := range [][]string{
		{"sh", "-c", "rm -f linux-image-*.deb && apt-get -q download " + name},
		{"sh", "-c", "dpkg -x linux-image-*.deb kernel"},
	} {
		if err := run(dir, step[0], step[1:]...); err != nil {
			return "", err
		}
	}
	found, _ := filepath.Glob(pattern)
	if len(found) == 0 {
		return "", fmt.Errorf("package %s holds no boot/vmlinuz-6.1*", name)
	}
	return found[0], nil
}

// modules are those that a running Debian loads by itself when they are asked
// for; init loads them in this order.
var modules = []string{"unix_diag", "quota_tree", "quota_v2", "loop", "libcrc32c", "xfs"}

// moduleFiles finds the modules of a kernel that was unpacked into dir.
func moduleFiles(dir string) ([]file, error) {
	var files []file
	for i, name := range modules {
		var found []string
		for _, below := range []string{"*", "*/*"} { // lib/libcrc32c.ko, fs/xfs/xfs.ko
			more, _ := filepath.Glob(filepath.Join(dir, "kernel/lib/modules/*/kernel", below, name+".ko"))
			found = append(found, more...)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("no module %s.ko below %s/kernel", name, dir)
		}
		files = append(files, file{path: fmt.Sprintf("%s/%02d-%s.ko", plan.Modules, i, name), source: found[0], mode: 0o444})
	}
	return files, nil
}

// boot runs the guest until it powers off. Every line of its console is
// passed to line; progress is called every now and then. The processor is emulated: KVM inside a virtual machine is
// not reliable enough for a test (seen: "KVM internal error" on cmpxchg16b).
func boot(kernel, disk string, limit time.Duration, line func(string), progress func()) error {
	whole, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(whole, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2048",
		"-nographic", "-nic", "none", "-no-reboot", "-kernel", kernel, "-initrd", disk,
		"-append", "console=ttyS0 quiet panic=-1")
	cmd.Stderr = os.Stderr
	console, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w (install qemu-system-x86)", err)
	}
	eachLine(console, line, progress)
	err = cmd.Wait()
	if whole.Err() != nil {
		return errors.New("interrupted, and the guest ended with it")
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the guest did not end within %v", limit)
	}
	return err
}
