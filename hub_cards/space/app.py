"""The demo as a Space; the package u2net_hf lies beside this file."""

from pathlib import Path

from u2net_hf.removal.demo import MAX_FILE_SIZE, build_app

demo = build_app(examples=[Path(__file__).with_name("coffee.jpg")])

if __name__ == "__main__":
    demo.launch(max_file_size=MAX_FILE_SIZE)
