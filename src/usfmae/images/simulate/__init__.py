"""B-mode images from physics: anatomy, scatterers, beam, scan conversion; for the demo and the tests."""
