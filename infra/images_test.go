package infra_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// maxImageBytes is what the service's image may take.
const maxImageBytes = 30 << 20

// localImages makes the images as a user without a registry does, with a tag that
// goes with the test, and returns the variables of the compose file that name them.
func localImages(t *testing.T) map[string]string {
	t.Helper()
	images := make(map[string]string)
	said := command(t, []string{"IMAGE_TAG=test-" + strconv.Itoa(os.Getpid()), "REDIS_IMAGE="}, "./local-images.sh")
	for line := range strings.Lines(said) {
		name, image, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if !ok {
			t.Fatalf("local-images.sh says %q", line)
		}
		images[name] = image
		t.Cleanup(func() { command(t, nil, "docker", "image", "rm", "-f", image) })
	}
	return images
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
