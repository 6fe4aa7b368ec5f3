package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ward/holder/lifeline"
)

// TestPeerIsTheKernels: a server that asks who calls is told the domain, its
// user ID and its ring, and of a user outside its user ID and groups, whatever
// they say themselves.
func TestPeerIsTheKernels(t *testing.T) {
	r := up(t, `
  server: { program: PROBE, args: [who], ring: service, exports: [{interface: test.v1.Echo, socket: RUN/echo.sock}] }
  client: { program: PROBE, args: [ask], ring: user, needs: [server] }
`)
	r.report(lifeline.Ready)
	client := r.domains()["client"]
	want := fmt.Sprintf(`I am true "client" uid %d ring %d groups []; it is "server"`, client.UID, client.Ring)
	if got := r.says("client", `I am .*`)[0]; got != want || client.UID == 0 || client.Ring == 0 {
		t.Errorf("the client: %s, want %s", got, want)
	}
	cmd := exec.Command(filepath.Join(r.bin, "probe"), "ask", filepath.Join(r.dir, "echo.sock"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: 77, Groups: []uint32{4242, 78}}}
	out, _ := cmd.CombinedOutput()
	if got := strings.TrimSpace(string(out)); !strings.Contains(got, fmt.Sprintf(`I am true "nobody" uid %d `, nobody)) || !strings.Contains(got, "groups [77 78 4242]") {
		t.Errorf("a user: %s", got)
	}
}
