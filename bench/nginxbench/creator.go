package nginxbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"ward/abi"
	"ward/creator"
	"ward/image"
	"ward/kernel"
	"ward/kernel/confine"
)

// creatorArgument is the first argument of a program that is run again as the
// creator of a domain, which its filter must hold and the plain nginx must not.
const creatorArgument = "nginxbench-creator"

// What the creator gets: its channel, and what to make on its command line.
const channelFD = 3

// An order says what a creator is to make.
type order struct {
	Conf, Web, Port string
	Config          creator.Config
}

// Creator serves as the creator of one domain, and does not return, if this
// process was started as that; otherwise it does nothing. A program that calls
// Run calls it first.
func Creator() {
	if len(os.Args) != 3 || os.Args[1] != creatorArgument {
		return
	}
	if err := serveCreator(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "nginxbench: creator:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveCreator(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	img := o.image()
	if err := img.Check(); err != nil {
		return err
	}
	// As wardd's creator: its own filter stands above that of the domain, and an
	// open runs both.
	keeps := confine.Protection{Effective: kernel.CreatorCapabilities | kernel.NetworkCapabilities, Table: kernel.MakerCalls}
	if o.Config.Without&kernel.WithSeccomp != 0 {
		keeps.Table = nil
	}
	if err := keeps.Apply(); err != nil {
		return err
	}
	syscall.CloseOnExec(channelFD)
	return creator.Serve(os.NewFile(channelFD, "channel"), img, o.Config)
}

func (o *order) image() *image.Image {
	allow := image.Verdict{Allow: true}
	return &image.Image{Name: "bench", Policies: []image.Policy{{ID: "bench"}}, Domains: []image.Domain{{
		Name: "nginx", Program: Program, Host: true, Args: []string{"-c", o.Conf, "-e", "stderr"}, Env: []string{"NGINX=3;"}, Start: allow, Ring: image.Ring{Level: 3, Name: "user"},
		Listen:  []image.Listen{{Name: "http", Address: "tcp:127.0.0.1:" + o.Port}},
		Connect: []string{"tcp:127.0.0.1:1"},
		Files:   []image.File{{Path: o.Conf, Access: image.Read, Verdict: allow}, {Path: o.Web, Access: image.Read, Verdict: allow}},
	}}}
}

// startDomain starts a domain under a creator of its own.
func (b *bench) startDomain(s *server, number uint32, without kernel.Defence) error {
	conf, err := b.config(s, "/tmp")
	if err != nil {
		return err
	}
	text, err := json.Marshal(order{Conf: conf, Web: filepath.Join(b.dir, "web"), Port: s.port,
		Config: creator.Config{UIDBase: b.o.UID + number, Cgroup: fmt.Sprintf("ward-bench-nginx.%d.%d", os.Getpid(), number), Without: without}})
	if err != nil {
		return err
	}
	channel, err := pair()
	if err != nil {
		return err
	}
	defer channel[0].Close()
	c := exec.Command("/proc/self/exe", creatorArgument, string(text))
	c.ExtraFiles, c.Stderr = []*os.File{channel[0]}, os.Stderr
	// Of another session: Ctrl-C is for the benchmark, which then tells the creator to stop; so does its end.
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return errors.Join(err, channel[1].Close())
	}
	s.creator, s.client = c, creator.NewClient(channel[1])
	control, err := pair()
	if err != nil {
		return err
	}
	defer control[0].Close()
	s.control = control[1]
	if s.output, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
		return err
	}
	p, err := s.client.Start(context.Background(), abi.DomainID(0), control[0], s.output)
	if err != nil {
		return err
	}
	s.pid = p.PID
	p.Pidfd.Close()
	if p.Ring != nil {
		p.Ring.Close()
	}
	return nil
}
