package infra_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// goImageVariable names an image that this machine has and that has Go: the whole
// Dockerfile is built on it. Nothing is pulled.
const goImageVariable = "WEATHERLIGHT_TEST_GO_IMAGE"

// TestDockerfile builds infra/Dockerfile from its first stage to its last.
func TestDockerfile(t *testing.T) {
	goImage := os.Getenv(goImageVariable)
	if goImage == "" {
		t.Skip("the first stage needs an image with Go: name one in " + goImageVariable)
	}
	requireEngine(t)
	image := fmt.Sprintf("weatherlight-test-whole:%d", os.Getpid())
	// The builder that comes with the engine builds every stage.
	command(t, []string{"DOCKER_BUILDKIT=0"}, "docker", "build", "-q", "-f", "Dockerfile", "-t", image,
		"--build-arg", "GO_IMAGE="+goImage, "--build-arg", "VERSION=v1.2.3", "--build-arg", "COMMIT=abcdef", "..")
	t.Cleanup(func() { command(t, nil, "docker", "image", "rm", "-f", image) })
	checkServiceImage(t, image)
	said := command(t, nil, "docker", "run", "--rm", "--read-only", "--network", "none", image, "version")
	if !strings.Contains(said, "v1.2.3") || !strings.Contains(said, "abcdef") {
		t.Errorf("version: %s", said)
	}
}
