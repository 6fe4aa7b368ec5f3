package callbench

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/godbus/dbus/v5"
)

const (
	busName   = "org.ward.Bench"
	busPath   = dbus.ObjectPath("/org/ward/Bench")
	busMethod = "org.ward.Bench.Call"
)

// busConfig is a bus that only this user reaches, in a directory of its own.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*" eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`

// dialDBus starts a dbus-daemon for this run only.
func dialDBus(ctx context.Context, _ *Options) (*caller, error) {
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		return nil, fmt.Errorf("dbus-daemon is not installed: %w", err)
	}
	dir, err := os.MkdirTemp("", "callbench-")
	if err != nil {
		return nil, err
	}
	c := &caller{close: func() { os.RemoveAll(dir) }}
	also := func(f func()) { before := c.close; c.close = func() { f(); before() } }

	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, filepath.Join(dir, "bus.sock")), 0o600); err != nil {
		c.close()
		return nil, err
	}
	cmd := exec.Command(daemon, "--config-file="+config, "--nofork", "--nopidfile", "--nosyslog", "--print-address")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.close()
		return nil, err
	}
	also(func() { cmd.Process.Kill(); cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.close()
		return nil, fmt.Errorf("dbus-daemon told no address: %w", err)
	}
	address = strings.TrimSpace(address)
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		c.close()
		return nil, err
	}
	also(func() { conn.Close() })
	if err := conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, busName)); err != nil {
		c.close()
		return nil, err
	}
	ready := make(chan *dbus.Signal, 16)
	conn.Signal(ready)
	stop, err := startPeer(DBus, nil, address)
	if err != nil {
		c.close()
		return nil, err
	}
	also(stop)
	select {
	case <-ready:
	case <-ctx.Done():
		c.close()
		return nil, ctx.Err()
	}
	object := conn.Object(busName, busPath)
	c.call = func(ctx context.Context, _ int, payload []byte) error {
		// As a string: the library encodes arrays of bytes one by one.
		var reply string
		if err := object.CallWithContext(ctx, busMethod, 0, string(payload)).Store(&reply); err != nil {
			return err
		}
		if len(reply) != len(payload) {
			return &sizeError{len(reply), len(payload)}
		}
		return nil
	}
	return c, nil
}

// busEcho is the object that the D-Bus server exports.
type busEcho struct{}

func (busEcho) Call(payload string) (string, *dbus.Error) { return payload, nil }

func serveDBus(args []string) error {
	conn, err := dbus.Connect(args[0])
	if err != nil {
		return err
	}
	if err := conn.Export(busEcho{}, busPath, "org.ward.Bench"); err != nil {
		return err
	}
	if _, err := conn.RequestName(busName, dbus.NameFlagDoNotQueue); err != nil {
		return err
	}
	<-conn.Context().Done()
	return nil
}
