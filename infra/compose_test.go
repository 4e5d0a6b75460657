// Package infra_test runs the compose file of infra for real, where a Docker
// engine answers: without a registry, with images made of what is installed.
package infra_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// containersVariable names the environment variable that, set to 1, has these
// tests start containers. Nobody's "go test ./..." does.
const containersVariable = "WEATHERLIGHT_TEST_CONTAINERS"

// requireEngine skips a test that starts containers, unless it is asked for: then
// a machine that lacks a program, or an engine that answers, is a failure.
func requireEngine(t *testing.T) {
	t.Helper()
	if os.Getenv(containersVariable) != "1" {
		t.Skip("containers are started only with " + containersVariable + "=1")
	}
	for _, program := range []string{"docker", "redis-server", "redis-cli"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatal("no " + program + " on this machine")
		}
	}
	if out, err := exec.Command("docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		t.Fatalf("there is a docker command but no engine that answers: %v\n%s", err, out)
	}
}

// project is the compose file, up.
type project struct {
	t    *testing.T
	name string
	env  []string
	base []string

	redisPort, nissaPort int // on this host
}

// newProject gives the compose file, with its profile nissa, images of this machine
// and free ports.
func newProject(t *testing.T) *project {
	t.Helper()
	p := &project{t: t, name: "weatherlight-test-" + strconv.Itoa(os.Getpid()), redisPort: freePort(t), nissaPort: freePort(t)}
	p.base = composeCommand()
	images := localImages(t)
	checkServiceImage(t, images["WEATHERLIGHT_IMAGE"])
	dotenv := filepath.Join(t.TempDir(), "env") // instead of anybody's .env
	write(t, dotenv, nil)
	p.base = append(p.base, "-f", "docker-compose.weatherlight.yml", "-p", p.name, "--env-file", dotenv, "--profile", "nissa")
	p.env = []string{
		"REDIS_PORT=" + strconv.Itoa(p.redisPort),
		"NISSA_PORT=" + strconv.Itoa(p.nissaPort),
		"ESPER_LEYLINE_SECRET=" + testSecret,
	}
	for name, image := range images {
		p.env = append(p.env, name+"="+image)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.compose("logs", "--no-color"))
		}
		p.compose("down", "--volumes", "--remove-orphans", "--timeout", "20")
	})
	return p
}

// composeCommand is docker-compose, or what replaced it.
func composeCommand() []string {
	if _, err := exec.LookPath("docker-compose"); err != nil {
		return []string{"docker", "compose"}
	}
	return []string{"docker-compose"}
}

// compose runs docker-compose on the file.
func (p *project) compose(args ...string) string {
	p.t.Helper()
	return command(p.t, p.env, p.base[0], append(slices.Clone(p.base[1:]), args...)...)
}

// container returns the id of a service's container, also of one that has ended.
func (p *project) container(service string) string {
	p.t.Helper()
	ids := strings.Fields(command(p.t, nil, "docker", "ps", "-aq", "--no-trunc",
		"--filter", "label=com.docker.compose.project="+p.name, "--filter", "label=com.docker.compose.service="+service))
	if len(ids) != 1 {
		p.t.Fatalf("%d containers of %s", len(ids), service)
	}
	return ids[0]
}

func (p *project) inspect(service, format string) string {
	p.t.Helper()
	return strings.TrimSpace(command(p.t, nil, "docker", "inspect", "-f", format, p.container(service)))
}

// upHealthy brings everything up and waits until the health checks say so.
func (p *project) upHealthy() {
	p.t.Helper()
	p.compose("up", "-d", "--no-build")
	for _, service := range []string{"redis", "weatherlight", "nissa"} {
		eventually(p.t, 2*time.Minute, func() error {
			if status := p.inspect(service, "{{.State.Health.Status}}"); status != "healthy" {
				return fmt.Errorf("%s is %s: %s", service, status, p.inspect(service, "{{json .State.Health}}"))
			}
			return nil
		})
	}
}

// stopInOrder stops the service in order and checks how it ended.
func (p *project) stopInOrder() {
	p.t.Helper()
	p.compose("stop", "weatherlight")
	if code := p.inspect("weatherlight", "{{.State.ExitCode}}"); code != "0" {
		p.t.Errorf("exit code %s after stop, want 0", code)
	}
	log, err := exec.Command("docker", "logs", p.container("weatherlight")).CombinedOutput()
	if err != nil {
		p.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, "shutdown complete") {
		p.t.Errorf("the last log line is %s", last)
	}
}

// TestCompose: up, a request served, telemetry received, stopped in order, up
// again, nothing lost.
func TestCompose(t *testing.T) {
	requireEngine(t)
	p := newProject(t)
	p.upHealthy()
	for _, service := range []string{"redis", "weatherlight", "nissa"} {
		hardened := p.inspect(service, "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}")
		if hardened != "true [ALL]" {
			t.Errorf("%s: read-only root and dropped capabilities are %s", service, hardened)
		}
	}
	p.addKernel("BP001")
	p.prefetch("BP001")
	p.telemetryArrives()

	bus := connectBus(t, "redis://127.0.0.1:"+strconv.Itoa(p.redisPort)+"/0", "test")
	answers := watchAnswers(t, bus)
	bus.request(0, 200)
	p.stopInOrder()
	bus.request(200, 400) // while nobody is there
	p.compose("down", "--timeout", "20")
	p.upHealthy()
	bus.request(400, 600)
	answers.oneEach(t, 600)
	p.stopInOrder()
}

// TestComposeWithoutSecret: nothing is started without one, and compose says why.
func TestComposeWithoutSecret(t *testing.T) {
	if os.Getenv(containersVariable) != "1" {
		t.Skip("docker-compose is needed only with " + containersVariable + "=1")
	}
	dotenv := filepath.Join(t.TempDir(), "env")
	write(t, dotenv, nil)
	args := append(composeCommand(), "-f", "docker-compose.weatherlight.yml", "--env-file", dotenv, "config")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "ESPER_LEYLINE_SECRET=") })
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Put it into infra/.env") {
		t.Errorf("%v: %s", err, out)
	}
}

// prefetch asks for a kernel from inside of the container.
func (p *project) prefetch(blueprint string) {
	p.t.Helper()
	out := p.compose("exec", "-T", "weatherlight", "/usr/local/bin/esper-weatherlight-service", "prefetch", "--json", blueprint)
	var served []struct {
		Status      string `json:"status"`
		ArtifactRef string `json:"artifact_ref"`
	}
	if err := json.Unmarshal([]byte(out), &served); err != nil || len(served) != 1 || served[0].Status != "ready" {
		p.t.Fatalf("%v: %s", err, out)
	}
	if !strings.HasPrefix(served[0].ArtifactRef, "/var/lib/weatherlight/urza/artifacts/") {
		p.t.Errorf("the artifact is at %s, where no other container finds it", served[0].ArtifactRef)
	}
}

// telemetryArrives waits until nissa has received a packet.
func (p *project) telemetryArrives() {
	p.t.Helper()
	url := "http://127.0.0.1:" + strconv.Itoa(p.nissaPort) + "/metrics"
	eventually(p.t, 2*time.Minute, func() error {
		text, err := get(p.t.Context(), url)
		if err != nil {
			return err
		}
		if !strings.Contains(text, `esper_telemetry_packets_total{source="weatherlight"}`) {
			return errors.New("no packet of weatherlight was received")
		}
		return nil
	})
}

// addKernel stores a file under a blueprint, as the manual says.
func (p *project) addKernel(blueprint string) {
	p.t.Helper()
	dir := p.t.TempDir()
	write(p.t, filepath.Join(dir, "kernel.pt"), []byte("compiled"))
	p.compose("run", "--rm", "-T", "--no-deps", "-v", dir+":/in:ro", "weatherlight", "urza", "add", "/in/kernel.pt", "--blueprint", blueprint)
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// eventually waits until check returns nil.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
