package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	tea "charm.land/bubbletea/v2"
)

// watchLive draws the fleet on a terminal until somebody presses q or ctx ends.
func watchLive(ctx context.Context, w *watcher, out io.Writer, environ []string, options ...tea.ProgramOption) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	options = append(options, tea.WithContext(ctx), tea.WithOutput(out), tea.WithEnvironment(environ), tea.WithoutSignalHandler())
	program := tea.NewProgram(newScreen(newPalette(out, environ)), options...)
	var failed error
	var watching sync.WaitGroup
	watching.Go(func() {
		failed = w.run(ctx, func(v *fleetView) error {
			program.Send(*v)
			return nil
		})
		program.Quit()
	})
	_, err := program.Run()
	stop()
	watching.Wait()
	if failed != nil {
		return failed
	}
	if err != nil && !errors.Is(err, tea.ErrProgramKilled) {
		return fmt.Errorf("draw: %w", err)
	}
	return nil
}

// Init does nothing: views come by themselves.
func (s *screen) Init() tea.Cmd { return nil }

// Update takes in a view, a key or a new size of the terminal.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case fleetView:
		s.take(&msg)
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		if !s.press(msg.String()) {
			return s, tea.Quit
		}
	}
	return s, nil
}

// View draws, on a screen of its own; see [screen.draw].
func (s *screen) View() tea.View {
	view := tea.NewView(s.draw())
	view.AltScreen = true
	return view
}

// press acts on a key, and reports whether to go on.
func (s *screen) press(key string) bool {
	switch key {
	case "q", "ctrl+c":
		return false
	case "esc":
		if !s.detail && !s.help {
			return false
		}
		s.detail, s.help, s.scroll = false, false, 0
	case "?", "h":
		s.help, s.scroll = !s.help, 0
	case "enter", "d":
		s.detail, s.help, s.scroll = !s.detail && len(s.view.Instances) > 0, false, 0
	case "s":
		s.sort = (s.sort + 1) % sortOrders
		s.sortInstances()
	case "up", "k":
		s.move(-1)
	case "down", "j":
		s.move(1)
	case "home", "g":
		s.move(-len(s.view.Instances))
		s.scroll = 0
	case "end", "G":
		s.move(len(s.view.Instances))
	case "pgdown", "space", "f":
		s.scroll += max(1, s.height/2)
	case "pgup", "b":
		s.scroll = max(0, s.scroll-max(1, s.height/2))
	}
	return true
}
