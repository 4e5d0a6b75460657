package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// muteTerminal is a terminal that shows what is written to it and never answers a
// question, as a serial console.
type muteTerminal struct {
	t     *testing.T
	side  *os.File // of who sits there
	name  string   // of the side of the program
	shown lockedBuffer
}

func openTerminal(t *testing.T) *muteTerminal {
	t.Helper()
	side, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		if os.Getenv("WEATHERLIGHT_TEST_STRICT") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() { _ = side.Close() })
	var number, locked uint32
	size := [4]uint16{24, 80}
	for request, at := range map[uintptr]unsafe.Pointer{
		syscall.TIOCGPTN: unsafe.Pointer(&number), syscall.TIOCSPTLCK: unsafe.Pointer(&locked), syscall.TIOCSWINSZ: unsafe.Pointer(&size),
	} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, side.Fd(), request, uintptr(at)); errno != 0 {
			t.Fatal(errno)
		}
	}
	m := &muteTerminal{t: t, side: side, name: fmt.Sprintf("/dev/pts/%d", number)}
	go func() { _, _ = io.Copy(&m.shown, side) }()
	return m
}

// start starts the program on the terminal.
func (m *muteTerminal) start(env map[string]string, args ...string) *process {
	m.t.Helper()
	path, err := binary()
	if err != nil {
		m.t.Fatal(err)
	}
	tty, err := os.OpenFile(m.name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = tty.Close() }()
	p := &process{t: m.t, cmd: exec.Command(path, args...), exited: make(chan struct{})}
	p.cmd.Dir = m.t.TempDir()
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = tty, tty, tty
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
	}()
	m.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
	})
	return p
}

// asked fails the test if the program asked for the colours of the terminal or
// for the place of the cursor, and so waited for an answer.
func (m *muteTerminal) asked() {
	m.t.Helper()
	for _, question := range []string{"\x1b]10;?", "\x1b]11;?", "\x1b[6n"} {
		if strings.Contains(m.shown.String(), question) {
			m.t.Errorf("the terminal was asked %q", question)
		}
	}
}

// TestTerminalIsNotAsked: whatever is printed on a terminal, nobody waits for what
// that terminal may never answer; and it is in colour.
func TestTerminalIsNotAsked(t *testing.T) {
	t.Parallel()
	bus := listenTestBus(t)
	bus.publish(hostPacket(t, "0123456789ab", isHealthy, "steady"))
	env := map[string]string{"TERM": "vt220", "REDIS_URL": bus.url, "ESPER_LEYLINE_SECRET": testSecret}
	for _, test := range []struct {
		args  []string
		env   map[string]string
		shows string
	}{
		{[]string{"version"}, env, "go1."},
		{[]string{"config"}, env, "REDIS_URL"},
		{[]string{"urza", "list"}, env, "\r\n"},
		{[]string{"status"}, env, "\x1b[1m\x1b[92mHEALTHY"},
		{[]string{"status"}, with(env, "NO_COLOR", "1"), "HEALTHY  Weatherlight"},
		{[]string{"status"}, with(env, "TERM", "dumb"), "HEALTHY  Weatherlight"},
	} {
		terminal := openTerminal(t)
		if code := terminal.start(test.env, test.args...).wait(30 * time.Second); code != 0 {
			t.Errorf("%v: exit code %d: %s", test.args, code, terminal.shown.String())
		}
		eventually(t, func() error {
			return errIf(!strings.Contains(terminal.shown.String(), test.shows), fmt.Sprintf("%v shows %q", test.args, terminal.shown.String()))
		})
		terminal.asked()
	}
}

// TestLiveViewOnAMuteTerminal: the live view is drawn, and a key that was pressed
// before it was there is not lost.
func TestLiveViewOnAMuteTerminal(t *testing.T) {
	t.Parallel()
	bus := listenTestBus(t)
	bus.publish(hostPacket(t, "0123456789ab", isHealthy, "steady"))
	terminal := openTerminal(t)
	live := terminal.start(map[string]string{"TERM": "vt220", "REDIS_URL": bus.url, "ESPER_LEYLINE_SECRET": testSecret}, "status", "--watch")
	press := func(key string) {
		t.Helper()
		if _, err := io.WriteString(terminal.side, key); err != nil {
			t.Fatal(err)
		}
	}
	press("?")
	for _, step := range []struct{ see, press string }{{"? back", "?"}, {"nothing is wrong", "q"}} {
		eventually(t, func() error {
			return errIf(!strings.Contains(terminal.shown.String(), step.see), fmt.Sprintf("it does not show %s: %q", step.see, terminal.shown.String()))
		})
		press(step.press)
	}
	if code := live.wait(10 * time.Second); code != 0 {
		t.Errorf("exit code %d: %s", code, terminal.shown.String())
	}
	terminal.asked()
}

// TestColoured: who decides whether there are colours.
func TestColoured(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, test := range []struct {
		environ []string
		want    bool
	}{
		{[]string{"TERM=xterm"}, false},
		{[]string{"TERM=xterm", "CLICOLOR_FORCE=1"}, true},
		{[]string{"TERM=xterm", "CLICOLOR_FORCE=0"}, false},
		{[]string{"TERM=xterm", "CLICOLOR_FORCE=1", "NO_COLOR=1"}, false},
	} {
		if got := coloured(file, test.environ); got != test.want {
			t.Errorf("%v: %t", test.environ, got)
		}
	}
}
