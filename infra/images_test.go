package infra_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Without a registry the images are made of what the machine has: our binary, and
// the redis-server that is installed. The last stage of infra/Dockerfile is used
// as it stands.

// maxImageBytes is what the service's image may take.
const maxImageBytes = 30 << 20

// serviceImage builds a stage of infra/Dockerfile around a binary built here.
func serviceImage(t *testing.T, stage, binary, source string) string {
	t.Helper()
	context := t.TempDir()
	out := filepath.Join(context, "out")
	if err := os.MkdirAll(filepath.Join(out, "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, nil, "./release.sh", "build", source, filepath.Join(out, binary))
	certificates, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		t.Log("the image gets no CA certificates:", err)
	}
	write(t, filepath.Join(out, "ca-certificates.crt"), certificates)
	write(t, filepath.Join(context, "Dockerfile"), []byte("FROM scratch AS build\nCOPY out /out\n"+stageText(t, stage)))
	return buildImage(t, context, stage)
}

// stageText cuts one stage out of infra/Dockerfile.
func stageText(t *testing.T, name string) string {
	t.Helper()
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for stage := range strings.SplitSeq(string(dockerfile), "\nFROM ") {
		if first, _, _ := strings.Cut(stage, "\n"); strings.HasSuffix(first, " AS "+name) {
			return "FROM " + stage
		}
	}
	t.Fatalf("infra/Dockerfile has no stage %s", name)
	return ""
}

// redisImage copies the installed Redis with its shared libraries, in the shape
// of the official image: user 999, /data.
func redisImage(t *testing.T) string {
	t.Helper()
	context := t.TempDir()
	root := filepath.Join(context, "root")
	for _, program := range []string{"redis-server", "redis-cli"} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		copyTo(t, path, filepath.Join(root, "usr/bin", program))
		for _, library := range libraries(t, path) {
			copyTo(t, library, filepath.Join(root, library))
		}
	}
	if err := os.Mkdir(filepath.Join(context, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(context, "Dockerfile"), []byte("FROM scratch\nCOPY root /\nCOPY --chown=999:999 data /data\nUSER 999:999\n"))
	return buildImage(t, context, "redis")
}

// libraries are the shared libraries of a program, the loader included.
func libraries(t *testing.T, program string) (paths []string) {
	t.Helper()
	for line := range strings.SplitSeq(command(t, nil, "ldd", program), "\n") {
		for word := range strings.FieldsSeq(line) {
			if filepath.IsAbs(word) {
				paths = append(paths, word)
			}
		}
	}
	if len(paths) == 0 {
		t.Fatal("ldd names no library of " + program)
	}
	return paths
}

func buildImage(t *testing.T, context, name string) string {
	t.Helper()
	image := fmt.Sprintf("weatherlight-test-%s:%d", name, os.Getpid())
	// The builder that comes with the engine: BuildKit is a plugin of its own.
	command(t, []string{"DOCKER_BUILDKIT=0"}, "docker", "build", "-q", "-t", image, context)
	t.Cleanup(func() { command(t, nil, "docker", "image", "rm", "-f", image) })
	return image
}

// checkServiceImage: small, and not root.
func checkServiceImage(t *testing.T, image string) {
	t.Helper()
	fields := strings.Fields(command(t, nil, "docker", "image", "inspect", "-f", "{{.Size}} {{.Config.User}}", image))
	if size, err := strconv.Atoi(fields[0]); err != nil || size > maxImageBytes {
		t.Errorf("the image has %d bytes, %v; at most %d are allowed", size, err, maxImageBytes)
	}
	if len(fields) != 2 || fields[1] != "65532:65532" {
		t.Errorf("the image runs as %v", fields[1:])
	}
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// command runs a command to its good end and returns its standard output.
func command(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}
