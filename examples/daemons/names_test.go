package daemons

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ward/audit"
)

// resolver answers each question for an address with 192.0.2.7, at port 53 of a
// loopback address of its own, which it returns.
func resolver(t *testing.T) string {
	t.Helper()
	var in net.PacketConn
	host := ""
	for i := range 250 { // one that no other test has
		host = fmt.Sprintf("127.%d.%d.%d", 53+os.Getpid()>>8%200, os.Getpid()%250+1, i+1)
		var err error
		if in, err = net.ListenPacket("udp4", host+":53"); err == nil {
			break
		}
	}
	if in == nil {
		t.Skip("needs port 53 of a loopback address")
	}
	t.Cleanup(func() { in.Close() })
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := in.ReadFrom(b)
			if err != nil {
				return
			}
			end := bytes.IndexByte(b[12:max(n, 12)], 0) // of the name (RFC 1035, 4.1.2), which is no pointer
			if end < 0 || 12+end+5 > n {
				continue
			}
			a := append([]byte(nil), b[:12+end+5]...)
			binary.BigEndian.PutUint16(a[2:], 0x8180)
			binary.BigEndian.PutUint16(a[6:], 1)
			copy(a[8:12], make([]byte, 4))
			a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7)
			in.WriteTo(a, from)
		}
	}()
	return host
}

// TestNames: a domain looks a name up by the resolver that it lists, with
// the host's /etc/resolv.conf. Without either of them it finds nothing, and what
// it asked is recorded.
func TestNames(t *testing.T) {
	const program = "/usr/bin/getent"
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes domains")
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("needs %s: %v", program, err)
	}
	host := resolver(t)
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver "+host+"\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ files, connect, refused string }{
		"both":            {"/etc/resolv.conf: r", "udp:" + host + ":53", ""},
		"no such address": {"/etc/resolv.conf: r", "udp:" + host + ":54", "udp:" + host + ":53"},
		"no file":         {"", "udp:" + host + ":53", "udp:127.0.0.1:53"}, // what resolv.conf(5) has without a file
	} {
		t.Run(what, func(t *testing.T) {
			s := &system{t: t, name: fmt.Sprintf("daemon-names-%d-%d", os.Getpid(), ups.Add(1)), dir: t.TempDir()}
			text := "ward: 1\nname: " + s.name + "\ndomains:\n  lookup:\n    program: " + program + "\n    args: [ahostsv4, some.example]\n    root: host\n    once: true\n" +
				"    files: {" + c.files + "}\n    connect: [\"" + c.connect + "\"]\n"
			if err := os.WriteFile(filepath.Join(s.dir, "system.yaml"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(s.run())
			// In a mount namespace in which the host's file is the test's.
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, "sh", "-c", `mount --make-rprivate / && mount --bind "$1" /etc/resolv.conf && exec "$2" up --until-done "$3"`,
				"sh", conf, filepath.Join(bin, "ward"), s.dir)
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			out, err := cmd.CombinedOutput()
			said, _ := os.ReadFile(filepath.Join(s.run(), audit.LogDir, "lookup"))
			if found := strings.Contains(string(said), "192.0.2.7"); found != (c.refused == "") || found != (err == nil) {
				t.Errorf("it finds %q, %v\n%s", said, err, out)
			}
			if c.refused != "" {
				s.refused(c.refused)
			}
		})
	}
}
