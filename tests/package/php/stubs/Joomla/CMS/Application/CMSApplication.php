<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Application;

use Joomla\CMS\User\User;
use Joomla\Input\Input;

/** The application of a page of the site or of the back end, as far as the package uses it. */
class CMSApplication implements CMSApplicationInterface
{
    public array $configuration = [];

    public array $headers = [];

    public ?object $document = null;

    public ?User $identity = null;

    public ?object $component = null;

    public Input $input;

    public function __construct(public string $client = 'site', array $request = [])
    {
        $this->input = new Input($request);
    }

    public function isClient($identifier)
    {
        return $this->client === $identifier;
    }

    public function get($name, $default = null)
    {
        return $this->configuration[$name] ?? $default;
    }

    public function getInput(): Input
    {
        return $this->input;
    }

    public function getIdentity()
    {
        return $this->identity;
    }

    public function getDocument()
    {
        return $this->document;
    }

    public function getHeaders()
    {
        return $this->headers;
    }

    public function setHeader($name, $value, $replace = false)
    {
        if ($replace) {
            $differs       = static fn (array $header): bool => strtolower($header['name']) !== strtolower($name);
            $this->headers = array_values(array_filter($this->headers, $differs));
        }

        $this->headers[] = ['name' => $name, 'value' => $value];

        return $this;
    }

    public function bootComponent($component)
    {
        return $this->component ?? throw new \RuntimeException('There is no ' . $component . '.');
    }
}
